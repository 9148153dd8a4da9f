"""The Spark session, and the JVM that it lives in."""
