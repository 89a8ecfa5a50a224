// Package notary does the audit log's work in Vault: it signs checkpoints, and has the keys of pseudonyms.
//
// Checkpoints (C2SP tlog-checkpoint) are signed notes. The key is a transit key of type ed25519, the only kind of
// signature that every verifier of signed notes knows; its private half never leaves Vault. Every signature is
// verified here before anybody sees it. Each version of the key is a verifier key of its own (Signer.VerifierKeys),
// and a new version signs only after it could be given to those who verify: Ahead after Vault made it.
//
// Pseudonyms are keyed hashes under a key that belongs to a period of time. That key is HMAC(master, label of the
// period), computed in Vault under a version of the master that is named; it is held in memory only, while its
// period lasts. Whoever has it can follow one person within the period. When the master's version is destroyed, no
// one can make the period's key again, and the period's pseudonyms lead to nobody: the period is forgotten.
//
// Which version is a period's? The newest that Vault had made two hours before the period began; for the period in
// which the key itself was made, the first. That depends on nothing but Vault's record, so replicas and restarts
// agree, whenever the key is rotated, and Vault may rotate it by itself. Where it is rotated at least once in every
// period each period has a version of its own and can be forgotten alone.
package notary

import (
	"context"

	"github.com/assaypdp/assay/vaultkeys"
)

// Vault is what the notary asks of Vault; *transit.Client is one. It retries nothing.
type Vault interface {
	// ReadKey reads the versions of a key.
	ReadKey(ctx context.Context, name string) (vaultkeys.Record, error)
	// ReadVersions is ReadKey for a key without public keys.
	ReadVersions(ctx context.Context, name string) (vaultkeys.Record, error)
	// Sign signs each input with one version of a key, under a JWS algorithm.
	Sign(ctx context.Context, key string, version int, alg string, inputs [][]byte) ([][]byte, error)
	// HMAC is HMAC-SHA-256 with one version of a key.
	HMAC(ctx context.Context, key string, version int, input []byte) ([]byte, error)
}
