"""S3: files in a bucket."""
