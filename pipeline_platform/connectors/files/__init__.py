"""Files of csv, json, parquet, orc and avro, at any path that Spark reads."""
