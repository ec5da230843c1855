"""What is served over HTTP at `http-port`: metrics, probes and a page for people."""
