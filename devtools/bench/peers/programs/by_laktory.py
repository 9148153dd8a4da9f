"""Filter orders into a Delta table with laktory: `by_laktory.py ORDERS TABLE CONDITION JARS`."""

import sys

import laktory as lk
from pyspark.sql import SparkSession

orders, table, condition, jars = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[*]")
    .config("spark.driver.extraClassPath", jars)
    .config("spark.ui.enabled", "false")
    .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
    .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
    .getOrCreate()
)
lk.register_spark_session(spark)
lk.models.Pipeline.model_validate(
    {
        "name": "orders",
        "dataframe_backend": "PYSPARK",
        "nodes": [
            {
                "name": "kept",
                "source": {"path": orders, "format": "PARQUET"},
                "transformer": {"nodes": [{"expr": f"SELECT * FROM {{df}} WHERE {condition}"}]},
                "sinks": [{"path": table, "format": "DELTA", "mode": "OVERWRITE"}],
            }
        ],
    }
).execute()
