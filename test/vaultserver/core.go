package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	hclog "github.com/hashicorp/go-hclog"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/userpass"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/helper/namespace"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// keysFile holds the unseal key and the root token beside the data. In a real Vault nobody may do that.
const keysFile = "unseal.json"

// secrets is what a storage's first start gave.
type secrets struct {
	UnsealKey string `json:"unseal_key"` // hexadecimal, as sys/unseal takes it
	RootToken string `json:"root_token"`
}

// builtins is the plugin registry: nothing beside the factories that the core is given. The core asks it
// about every mount, so it may not be missing.
type builtins struct{ logical, credential map[string]logical.Factory }

func (b builtins) of(kind consts.PluginType) map[string]logical.Factory {
	switch kind {
	case consts.PluginTypeSecrets:
		return b.logical
	case consts.PluginTypeCredential:
		return b.credential
	}
	return nil
}

func (b builtins) Contains(name string, kind consts.PluginType) bool {
	_, ok := b.of(kind)[name]
	return ok
}

func (b builtins) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	factory, ok := b.of(kind)[name]
	return func() (any, error) { return factory, nil }, ok
}

func (b builtins) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range b.of(kind) {
		names = append(names, name)
	}
	return names
}

func (b builtins) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	if b.Contains(name, kind) {
		return consts.Supported, true
	}
	return consts.Unknown, false
}

func (b builtins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

func newCore(o options, logger hclog.Logger) (*vault.Core, error) {
	backend, err := storage(o, logger)
	if err != nil {
		return nil, fmt.Errorf("opening the storage: %w", err)
	}
	plugins := builtins{
		logical:    map[string]logical.Factory{"transit": transit.Factory},
		credential: map[string]logical.Factory{"approle": approle.Factory, "kubernetes": kubernetes.Factory, "userpass": userpass.Factory},
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           backend,
		StorageType:        o.storage,
		BuiltinRegistry:    plugins,
		LogicalBackends:    plugins.logical,
		CredentialBackends: plugins.credential,
		Logger:             logger,
		DisableMlock:       true,
	})
	if err != nil {
		return nil, fmt.Errorf("creating the core: %w", err)
	}
	return core, nil
}

func storage(o options, logger hclog.Logger) (physical.Backend, error) {
	if o.storage == "file" {
		return file.NewFileBackend(map[string]string{"path": filepath.Join(o.dir, "data")}, logger)
	}
	return inmem.NewInmem(nil, logger)
}

// open initialises a new storage, finds the keys of an old one, and unseals it unless told not to.
func open(o options, core *vault.Core) (secrets, error) {
	ctx := namespace.RootContext(context.Background())
	initialised, err := core.Initialized(ctx)
	if err != nil {
		return secrets{}, fmt.Errorf("asking whether the storage is initialised: %w", err)
	}
	var keys secrets
	if initialised {
		keys, err = readKeys(o.dir)
	} else {
		keys, err = initialise(ctx, o, core)
	}
	if err != nil {
		return secrets{}, err
	}
	// What initialise leaves unsealed need not be unsealed again.
	if o.sealed == core.Sealed() {
		return keys, nil
	}
	if o.sealed {
		return keys, core.Seal(keys.RootToken)
	}
	return keys, unseal(core, keys.UnsealKey)
}

func initialise(ctx context.Context, o options, core *vault.Core) (secrets, error) {
	seal := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1, StoredShares: 1}
	result, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: seal})
	if err != nil {
		return secrets{}, fmt.Errorf("initialising: %w", err)
	}
	keys := secrets{UnsealKey: hex.EncodeToString(result.SecretShares[0]), RootToken: result.RootToken}
	if err := unseal(core, keys.UnsealKey); err != nil {
		return secrets{}, err
	}
	if o.rootToken != "" {
		if err := fixRootToken(ctx, core, keys.RootToken, o.rootToken); err != nil {
			return secrets{}, err
		}
		keys.RootToken = o.rootToken
	}
	if o.storage != "file" {
		return keys, nil
	}
	data, err := json.Marshal(keys)
	if err != nil {
		return secrets{}, err
	}
	return keys, os.WriteFile(filepath.Join(o.dir, keysFile), data, 0o600)
}

// fixRootToken makes a root token with a chosen id and revokes the first one, as `vault server -dev` does.
func fixRootToken(ctx context.Context, core *vault.Core, first, id string) error {
	request := &logical.Request{
		ID: "create-root-token", Operation: logical.UpdateOperation, ClientToken: first, Path: "auth/token/create",
		Data: map[string]any{"id": id, "policies": []string{"root"}, "no_parent": true, "no_default_policy": true},
	}
	response, err := core.HandleRequest(ctx, request)
	if err != nil {
		return fmt.Errorf("creating the root token: %w", err)
	}
	if response == nil || response.Auth == nil {
		return errors.New("creating the root token: no token came back")
	}
	request = &logical.Request{ID: "revoke-root-token", Operation: logical.UpdateOperation, ClientToken: first, Path: "auth/token/revoke-self"}
	if _, err := core.HandleRequest(ctx, request); err != nil {
		return fmt.Errorf("revoking the first root token: %w", err)
	}
	return nil
}

func unseal(core *vault.Core, key string) error {
	raw, err := hex.DecodeString(key)
	if err != nil {
		return fmt.Errorf("the unseal key is not hexadecimal: %w", err)
	}
	open, err := core.Unseal(raw)
	if err != nil {
		return fmt.Errorf("unsealing: %w", err)
	}
	if !open {
		return errors.New("unsealing: the key was not enough")
	}
	return nil
}

func readKeys(dir string) (secrets, error) {
	var keys secrets
	data, err := os.ReadFile(filepath.Join(dir, keysFile))
	if err != nil {
		return keys, fmt.Errorf("the storage was initialised, but its keys are gone: %w", err)
	}
	if err := json.Unmarshal(data, &keys); err != nil {
		return keys, fmt.Errorf("reading %s: %w", keysFile, err)
	}
	return keys, nil
}
