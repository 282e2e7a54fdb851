"""What Prometheus reads: the text of all metrics, the gauges that are computed for it, and quantiles."""
