"""Tools of `make`, the tests and the benchmarks: a local Airflow, a client of its REST API, and the demo."""
