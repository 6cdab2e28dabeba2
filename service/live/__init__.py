"""What labels say of a head that serves: evidence, measures, shares of classes. numpy only; no files, no clock."""
