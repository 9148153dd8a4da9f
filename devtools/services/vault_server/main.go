// Vault's own server in development mode, `vault server -dev`, and `vault kv put` and `patch`, without the plugins and
// the commands that no pipeline meets: all of Vault takes twice as long to compile.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-hclog"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/command/server"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "server" {
		serve(os.Args[2:])
	} else if len(os.Args) > 3 && os.Args[1] == "kv" && (os.Args[2] == "put" || os.Args[2] == "patch") {
		write(os.Args[2], os.Args[3], os.Args[4:])
	} else {
		must(0, fmt.Errorf("this Vault is built for tests: it knows `server -dev`, `kv put` and `kv patch`"))
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return value
}

// write puts a new version of a secret, or changes some fields of it.
func write(how, path string, pairs []string) {
	fields := map[string]interface{}{}
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		fields[key] = value
	}
	mount, name, _ := strings.Cut(path, "/")
	secrets := must(api.NewClient(nil)).KVv2(mount)
	method := secrets.Put
	if how == "patch" {
		method = secrets.Patch
	}
	written := must(method(context.Background(), name, fields))
	fmt.Printf("%s: version %d\n", path, written.VersionMetadata.Version)
}

// serve runs a server with KV 2 at secret/, initialized and unsealed.
func serve(arguments []string) {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	flags.Bool("dev", true, "in memory, initialized and unsealed; there is no other mode")
	flags.Bool("dev-no-store-token", true, "the token is never stored")
	address := flags.String("dev-listen-address", "127.0.0.1:8200", "where to listen")
	token := flags.String("dev-root-token-id", "root", "the token that may do everything")
	tls := flags.Bool("dev-tls", false, "serve https")
	certificates := flags.String("dev-tls-cert-dir", ".", "where certificate, key and authority are put")
	_ = flags.Parse(arguments)

	core, ctx := newCore(*address), namespace.RootContext(context.Background())
	opened := must(core.Initialize(ctx, &vault.InitParams{
		BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
	}))
	// Unseal overwrites what it is given.
	must(core.Unseal(append([]byte{}, opened.SecretShares[0]...)))
	do := func(path string, data map[string]interface{}) {
		request := &logical.Request{
			ID: "dev", Operation: logical.UpdateOperation, ClientToken: opened.RootToken, Path: path, Data: data,
		}
		response := must(core.HandleRequest(ctx, request))
		if response.IsError() {
			must(0, response.Error())
		}
	}
	do("sys/mounts/secret", map[string]interface{}{"type": "kv", "options": map[string]string{"version": "2"}})
	do("auth/token/create", map[string]interface{}{
		"id": *token, "policies": []string{"root"}, "no_parent": true, "no_default_policy": true,
	})
	fmt.Printf("Unseal Key: %x\n", opened.SecretShares[0])

	listener := &configutil.Listener{Type: "tcp", Address: *address}
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: listener})
	if *tls {
		must(server.DevTLSConfig("inmem", *certificates, nil))
		certificate := filepath.Join(*certificates, server.VaultDevCertFilename)
		key := filepath.Join(*certificates, server.VaultDevKeyFilename)
		must(0, http.ListenAndServeTLS(*address, certificate, key, handler))
	}
	must(0, http.ListenAndServe(*address, handler))
}

func newCore(address string) *vault.Core {
	secrets := map[string]logical.Factory{"kv": kv.Factory}
	logins := map[string]logical.Factory{"approle": approle.Factory, "kubernetes": kubernetes.Factory}
	logger := hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Info})
	return must(vault.NewCore(&vault.CoreConfig{
		Physical:           must(inmem.NewInmem(nil, logger)),
		LogicalBackends:    secrets,
		CredentialBackends: logins,
		AuditBackends:      map[string]audit.Factory{"file": audit.NewFileBackend},
		BuiltinRegistry:    plugins{consts.PluginTypeSecrets: secrets, consts.PluginTypeCredential: logins},
		DisableMlock:       true,
		Logger:             logger,
		RedirectAddr:       "http://" + address,
	}))
}

// plugins is what is compiled in, by kind and name.
type plugins map[consts.PluginType]map[string]logical.Factory

func (known plugins) Contains(name string, kind consts.PluginType) bool {
	_, found := known[kind][name]
	return found
}

func (known plugins) Get(name string, kind consts.PluginType) (func() (interface{}, error), bool) {
	factory, found := known[kind][name]
	return func() (interface{}, error) { return factory, nil }, found
}

func (known plugins) Keys(kind consts.PluginType) []string {
	names := []string{}
	for name := range known[kind] {
		names = append(names, name)
	}
	return names
}

func (known plugins) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, known.Contains(name, kind)
}

func (plugins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
