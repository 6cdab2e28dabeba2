"""How good probabilities are. numpy only."""
