# What a pipeline may read.
path "secret/data/*" {
  capabilities = ["read"]
}

path "kv1/*" {
  capabilities = ["read"]
}
