package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/bundles"
	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// signOptions say which key signs.
type signOptions struct {
	config, vaultKey string
	version          int
	pemFile          string
	algorithm, keyID string
}

func newBundleSign(e env) *cobra.Command {
	var (
		o         signOptions
		scope, to string
		printKey  bool
	)
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "Sign a bundle, with a key in Vault or in a file",
		Long: `Sign puts a signature over every file of a bundle into it (.signatures.json), in the form that stock OPA
verifies. One that is there is replaced. The bundle is checked first, and the signature before it is written.

The signature is made by a transit key in Vault, the key of vault.keys with use bundle or the one that --vault-key
names, as the role vault.roles.publisher or, where the configuration does not give it, with VAULT_TOKEN; the
private key never leaves Vault. With --key it is made by a private key in a PEM file.

The key id is the key's RFC 7638 thumbprint, so that each version of a Vault key is a key of its own to those
who verify: give them the next version (--print-key) before you sign with it. Without --key-version the latest
version signs. Stock OPA's configuration file takes keys for ES256 to ES512, PS256 to PS512 and RS256 to RS512;
EdDSA verifies in its library and here.`,
		Example: `  assay bundle sign bundle.tar.gz --config assay.yaml
  assay bundle sign --print-key --vault-key bundles
  assay bundle sign bundle.tar.gz --key release.pem --to signed.tar.gz`,
		Args: fileArg(true),
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.config, "config", "c", "", "configuration file: where Vault is, and the role publisher")
	flags.StringVar(&o.vaultKey, "vault-key", "", "name of the transit key (default the one of vault.keys with use bundle)")
	flags.IntVar(&o.version, "key-version", 0, "version of the transit key (default the latest)")
	flags.StringVar(&o.pemFile, "key", "", "PEM file with a private key, instead of Vault")
	flags.StringVar(&o.algorithm, "algorithm", "", "JWS algorithm (default that of the key; RS256 for RSA)")
	flags.StringVar(&o.keyID, "key-id", "", "key id (default the key's thumbprint)")
	flags.StringVar(&scope, "scope", "", "scope that verifiers must be configured with (default none)")
	flags.StringVar(&to, "to", "", "file to write (default FILE itself)")
	flags.BoolVar(&printKey, "print-key", false, "print the public key, as policy.verify.keys takes it, and sign nothing")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 && !printKey {
			return fmt.Errorf("%s needs a bundle to sign", cmd.CommandPath())
		}
		signer, done, err := o.signer(cmd.Context(), e)
		if err != nil {
			return err
		}
		defer done()
		if printKey {
			return printPublicKey(e, signer, *format)
		}
		archive, err := readArchive(args[0])
		if err != nil {
			return err
		}
		signed, err := bundles.Sign(cmd.Context(), archive, bundles.SignConfig{Signer: signer, Scope: scope})
		if err != nil {
			return err
		}
		if to == "" {
			to = args[0]
		}
		if err := bundles.WriteFile(to, signed); err != nil {
			return fmt.Errorf("writing the signed bundle: %w", err)
		}
		if *format == "json" {
			return json.NewEncoder(e.out).Encode(map[string]any{"file": to, "bytes": len(signed), "kid": signer.KeyID(), "alg": signer.Algorithm()})
		}
		_, err = fmt.Fprintf(e.out, "signed %s (%s, key %s)\n", to, signer.Algorithm(), signer.KeyID())
		return err
	}
	return cmd
}

// signer gives the key, and what to do when it is not needed any more.
func (o *signOptions) signer(ctx context.Context, e env) (bundles.Signer, func(), error) {
	nothing := func() {}
	if o.pemFile != "" {
		if o.vaultKey != "" {
			return nil, nothing, errors.New("give --vault-key or --key, not both")
		}
		text, err := os.ReadFile(o.pemFile)
		if err != nil {
			return nil, nothing, err
		}
		signer, err := bundles.NewPEMSigner(text, o.algorithm, o.keyID)
		return signer, nothing, err
	}
	c, err := readConfig(o.config)
	if err != nil {
		return nil, nothing, err
	}
	if err := o.chooseKey(c); err != nil {
		return nil, nothing, err
	}
	deps := serve.Deps{Now: e.now, Getenv: e.getenv, Log: e.quietLog()}
	var client *transit.Client
	if role := c.Vault.Roles.Publisher; role != nil {
		client, err = serve.NewClient(c, role, deps, nil)
	} else {
		client, err = adminClient(e, c)
	}
	if err != nil {
		return nil, nothing, err
	}
	done := nothing
	if c.Vault.Roles.Publisher != nil {
		done = func() { _ = client.Close(context.WithoutCancel(ctx)) } // a login that is not given back expires by itself
	}
	signer, err := newVaultSigner(ctx, client, o)
	if err != nil {
		done()
		return nil, nothing, err
	}
	return signer, done, nil
}

// chooseKey finds the key in Vault, and lets no key that signs tokens sign bundles.
func (o *signOptions) chooseKey(c *config.Config) error {
	names := c.KeyNamesFor("bundle")
	if o.vaultKey == "" {
		if len(names) != 1 {
			return fmt.Errorf("name the key: --vault-key NAME for one in Vault, or --key FILE for one in a PEM file "+
				"(the configuration has %d keys with use bundle)", len(names))
		}
		o.vaultKey = names[0]
	}
	key, configured := c.Vault.Keys[o.vaultKey]
	if configured && !slices.Contains(names, o.vaultKey) {
		return fmt.Errorf("the key %s has use %s; bundles are signed with a key of their own, with use bundle", o.vaultKey, key.Use)
	}
	if o.algorithm == "" {
		o.algorithm = key.Algorithm
	}
	return nil
}

// vaultSigner signs with one version of a transit key.
type vaultSigner struct {
	client    *transit.Client
	name      string
	version   int
	alg, kid  string
	publicPEM string
}

func newVaultSigner(ctx context.Context, client *transit.Client, o *signOptions) (*vaultSigner, error) {
	record, err := client.ReadKey(ctx, o.vaultKey)
	if errors.Is(err, transit.ErrNotFound) {
		return nil, fmt.Errorf("vault has no transit key %s: create it (`vault write -f transit/keys/%s type=ecdsa-p256`)", o.vaultKey, o.vaultKey)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key %s: %w", o.vaultKey, err)
	}
	alg, err := vaultkeys.Algorithm(record.Type, o.algorithm)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", o.vaultKey, err)
	}
	wanted := o.version
	if wanted == 0 {
		wanted = record.Latest
	}
	i := slices.IndexFunc(record.Versions, func(v vaultkeys.Version) bool { return v.Number == wanted })
	if i < 0 || wanted < record.MinEncryptionVersion {
		return nil, fmt.Errorf("key %s has no version %d that may sign", o.vaultKey, wanted)
	}
	s := &vaultSigner{client: client, name: o.vaultKey, version: wanted, alg: alg, kid: o.keyID}
	der, err := x509.MarshalPKIXPublicKey(record.Versions[i].Public)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", o.vaultKey, err)
	}
	s.publicPEM = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if s.kid == "" {
		s.kid, err = bundles.Thumbprint(s.publicPEM)
	}
	return s, err
}

// KeyID implements bundles.Signer.
func (s *vaultSigner) KeyID() string { return s.kid }

// Algorithm implements bundles.Signer.
func (s *vaultSigner) Algorithm() string { return s.alg }

// PublicKey implements bundles.Signer.
func (s *vaultSigner) PublicKey() string { return s.publicPEM }

// SignBundle implements bundles.Signer.
func (s *vaultSigner) SignBundle(ctx context.Context, input []byte) ([]byte, error) {
	made, err := s.client.Sign(ctx, s.name, s.version, s.alg, [][]byte{input})
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

// printPublicKey prints what the configuration of a verifier needs.
func printPublicKey(e env, s bundles.Signer, format output) error {
	if format == "json" {
		return json.NewEncoder(e.out).Encode(map[string]any{"kid": s.KeyID(), "alg": s.Algorithm(), "pem": s.PublicKey()})
	}
	indented := "        " + strings.ReplaceAll(strings.TrimSpace(s.PublicKey()), "\n", "\n        ")
	_, err := fmt.Fprintf(e.out, "policy:\n  verify:\n    keys:\n      %q:\n        algorithm: %s\n        pem: |\n  %s\n",
		s.KeyID(), s.Algorithm(), strings.ReplaceAll(indented, "\n", "\n  "))
	return err
}
