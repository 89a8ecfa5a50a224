package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/bundles"
)

func newBundleVerify(e env) *cobra.Command {
	var (
		path, scope, algorithm string
		keys                   []string
		anyRoots               bool
	)
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Say whether a server would load a bundle, and if not, why",
		Long: `Verify checks a bundle as a server does when it loads it: size, paths, the signature and every file's hash,
not_after, roots, builtins. The keys that count are those of policy.verify in the configuration, or of --verify-key
(KID=FILE, a public key in PEM; KID is the key id that the signature names, which assay bundle inspect shows: of a bundle
that assay bundle sign signed the key's thumbprint). It cannot know which sequence a server has had in force.

Exit code 0: it would be loaded, 1: refused, with the reason, 2: it could not be done.`,
		Example: `  assay bundle verify bundle.tar.gz --config assay.yaml
  assay bundle verify bundle.tar.gz --verify-key koQvvky8Iuz9j4OMUQJUIcX_CpkWcUbdKFb_2tHB71I=release.pub.pem`,
		Args: fileArg(false),
	}
	flags := cmd.Flags()
	flags.StringVarP(&path, "config", "c", "", "configuration file with policy.verify")
	flags.StringArrayVar(&keys, "verify-key", nil, "KID=FILE, a key whose signatures count; may be given more than once")
	flags.StringVar(&algorithm, "algorithm", "ES256", "JWS algorithm of the keys of --verify-key")
	flags.StringVar(&scope, "scope", "", "scope that the signature must have, with --verify-key")
	flags.BoolVar(&anyRoots, "any-roots", false, "let it own anything, as policy.replace_library does")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c := bundles.ReadConfig{Now: e.now, AllowedRoots: bundles.RootsBesideLibrary()}
		var err error
		if len(keys) > 0 {
			c.Verify, err = verificationOf(keys, algorithm, scope)
		} else {
			c.Verify, err = configuredVerification(path, &c, &anyRoots)
		}
		if err != nil {
			return err
		}
		if anyRoots {
			c.AllowedRoots = nil
		}
		b, err := readBundle(cmd.Context(), args[0], c)
		if refused, ok := errors.AsType[*bundles.RefusedError](err); ok {
			return printRefusal(e, refused, *format)
		}
		if err != nil {
			return err
		}
		view := viewBundle(b)
		if *format == "json" {
			return json.NewEncoder(e.out).Encode(map[string]any{"ok": true, "bundle": view})
		}
		return view.print(e.out, *format, e.now())
	}
	return cmd
}

// verificationOf reads keys from flags.
func verificationOf(keys []string, algorithm, scope string) (*bundles.Verification, error) {
	v := &bundles.Verification{Keys: make(map[string]bundles.Key), Scope: scope}
	for _, key := range keys {
		kid, file, ok := strings.Cut(key, "=")
		if !ok || kid == "" {
			return nil, fmt.Errorf("--verify-key %q: write KID=FILE", key)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		v.Keys[kid] = bundles.Key{PEM: string(text), Algorithm: algorithm}
	}
	return v, v.Check()
}

func configuredVerification(path string, c *bundles.ReadConfig, anyRoots *bool) (*bundles.Verification, error) {
	configuration, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	v, err := configuration.Policy.Verify.Verification()
	if err != nil {
		return nil, fmt.Errorf("policy.verify: %w", err)
	}
	if v == nil {
		return nil, errors.New("whose signatures count? Give a configuration with policy.verify.keys, or --verify-key KID=FILE")
	}
	c.MaxBytes = int64(configuration.Policy.MaxBundleBytes)
	*anyRoots = *anyRoots || configuration.Policy.ReplaceLibrary
	return v, nil
}

// printRefusal answers no.
func printRefusal(e env, refused *bundles.RefusedError, format output) error {
	if format == "json" {
		return errors.Join(json.NewEncoder(e.out).Encode(map[string]any{"ok": false, "reason": refused.Reason, "detail": refused.Detail}), errNo)
	}
	_, err := fmt.Fprintf(e.out, "refused (%s): %s\n", refused.Reason, refused.Detail)
	return errors.Join(err, errNo)
}

func newBundleInspect(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what is in a bundle, without verifying who signed it",
		Long: `Inspect shows revision, digest, roots, sequence, not_after and the files of a bundle, and by which key it
says that it is signed. FILE is an archive or a directory. Nothing is verified: use assay bundle verify for
that. An expired bundle is shown; one that is malformed, too large or escapes is refused.`,
		Example: "  assay bundle inspect bundle.tar.gz",
		Args:    fileArg(false),
	}
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := readBundle(cmd.Context(), args[0], bundles.ReadConfig{Now: e.now, AllowExpired: true})
		if err != nil {
			return err
		}
		view := viewBundle(b)
		if info, err := os.Stat(args[0]); err == nil && !info.IsDir() {
			archive, err := readArchive(args[0])
			if err != nil {
				return err
			}
			if claim, ok := bundles.ClaimedSigner(archive); ok {
				view.KeyID, view.Algorithm = claim.KeyID, claim.Algorithm
			}
		}
		return view.print(e.out, *format, e.now())
	}
	return cmd
}
