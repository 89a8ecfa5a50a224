package transit

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/assaypdp/assay/vaultkeys"
)

// ReadKey reads Vault's record of a key: its public keys and life-cycle marks. A key that is not there is
// ErrNotFound. The record is as Vault gave it; vaultkeys.Record.Check says whether to believe it.
func (c *Client) ReadKey(ctx context.Context, name string) (vaultkeys.Record, error) {
	return c.readRecord(ctx, name, parseRecord)
}

// ReadVersions is ReadKey for a key that may be of PseudonymKeyType: its versions have numbers and times and no
// public key, and vaultkeys.Record.Check refuses it.
func (c *Client) ReadVersions(ctx context.Context, name string) (vaultkeys.Record, error) {
	return c.readRecord(ctx, name, parseAny)
}

func (c *Client) readRecord(ctx context.Context, name string, parse func(string, map[string]any) (vaultkeys.Record, error)) (vaultkeys.Record, error) {
	if err := checkName("key", name); err != nil {
		return vaultkeys.Record{}, err
	}
	secret, err := c.read(ctx, "read_key", c.path("keys", name))
	if err != nil {
		return vaultkeys.Record{}, err
	}
	if secret == nil {
		return vaultkeys.Record{}, fmt.Errorf("%w: transit key %s at %s/", ErrNotFound, name, c.c.Mount)
	}
	record, err := parse(name, secret.Data)
	if err != nil {
		return vaultkeys.Record{}, fmt.Errorf("vault: transit key %s: %w", name, err)
	}
	return record, nil
}

// parseRecord reads the record of a key with public keys.
func parseRecord(name string, data map[string]any) (vaultkeys.Record, error) {
	r, err := parseAny(name, data)
	if err == nil && r.Type == PseudonymKeyType {
		err = fmt.Errorf("a key of type %q has no public keys", r.Type)
	}
	return r, err
}

func parseAny(name string, data map[string]any) (vaultkeys.Record, error) {
	r := vaultkeys.Record{
		Name:                 name,
		Exportable:           data["exportable"] == true,
		AllowPlaintextBackup: data["allow_plaintext_backup"] == true,
		DeletionAllowed:      data["deletion_allowed"] == true,
		Imported:             data["imported_key"] == true,
	}
	r.Type, _ = data["type"].(string)
	if data["derived"] == true {
		return r, errors.New("it is derived: its signatures depend on a context")
	}
	if data["soft_deleted"] == true {
		return r, fmt.Errorf("%w: it is deleted and can be restored", ErrNotFound)
	}
	for _, field := range []struct {
		name string
		to   *int
	}{
		{"latest_version", &r.Latest},
		{"min_decryption_version", &r.MinDecryptionVersion},
		{"min_encryption_version", &r.MinEncryptionVersion},
	} {
		n, err := integer(data[field.name])
		if err != nil {
			return r, fmt.Errorf("%s: %w", field.name, err)
		}
		*field.to = n
	}
	if seconds, err := integer(data["auto_rotate_period"]); err == nil {
		r.AutoRotatePeriod = time.Duration(seconds) * time.Second
	}
	if available, there := data["min_available_version"]; there {
		n, err := integer(available)
		if err != nil {
			return r, fmt.Errorf("min_available_version: %w", err)
		}
		r.MinAvailableVersion = n
	}
	keys, ok := data["keys"].(map[string]any)
	if !ok {
		return r, fmt.Errorf("a key of type %q has no versions to read", r.Type)
	}
	for number, value := range keys {
		v, err := parseVersion(r.Type, number, value)
		if err != nil {
			return r, fmt.Errorf("version %q: %w", number, err)
		}
		r.Versions = append(r.Versions, v)
	}
	slices.SortFunc(r.Versions, func(a, b vaultkeys.Version) int { return a.Number - b.Number })
	return r, nil
}

func parseVersion(kind, number string, value any) (vaultkeys.Version, error) {
	var v vaultkeys.Version
	if kind == PseudonymKeyType {
		return parseSymmetric(number, value)
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return v, fmt.Errorf("a key of type %q has no public keys", kind)
	}
	var err error
	if v.Number, err = strconv.Atoi(number); err != nil {
		return v, errors.New("its number is no number")
	}
	created, _ := fields["creation_time"].(string)
	if v.Created, err = time.Parse(time.RFC3339Nano, created); err != nil {
		return v, fmt.Errorf("creation_time: %w", err)
	}
	public, _ := fields["public_key"].(string)
	v.Public, err = parsePublic(kind, public)
	return v, err
}

// parseSymmetric reads a version of a key without public keys: Vault gives the second in which it was made.
func parseSymmetric(number string, value any) (vaultkeys.Version, error) {
	var v vaultkeys.Version
	var err error
	if v.Number, err = strconv.Atoi(number); err != nil {
		return v, errors.New("its number is no number")
	}
	seconds, err := integer(value)
	if err != nil {
		return v, fmt.Errorf("its creation time: %w", err)
	}
	v.Created = time.Unix(int64(seconds), 0).UTC()
	return v, nil
}

// parsePublic reads a public key: the raw 32 bytes in base64 for ed25519, PEM for all others.
func parsePublic(kind, text string) (crypto.PublicKey, error) {
	if kind == "ed25519" {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("public_key is not %d bytes in base64", ed25519.PublicKeySize)
		}
		return ed25519.PublicKey(raw), nil
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("public_key is not one PEM block")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("public_key: %w", err)
	}
	return public, nil
}
