"""Apache Airflow provider for Amazon Neptune ML."""

__version__ = "1.0.0rc1"
