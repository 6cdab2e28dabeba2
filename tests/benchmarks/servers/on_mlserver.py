"""MLServer with its codec for numpy: the protocol is validated."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from tests.benchmarks.servers.session import probabilities


class Head(MLModel):
    """A head, which `mlserver/model-settings.json` names."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        sent = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        answer = probabilities(sent["logits"], sent["mask"], sent["temperature"])
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("probabilities", answer)])
