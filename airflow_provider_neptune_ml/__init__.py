"""Apache Airflow provider for Amazon Neptune ML."""

__version__ = "0.1.0"
