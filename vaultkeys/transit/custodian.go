package transit

import (
	"context"
	"fmt"
)

// Retire makes version to the lowest of a key that may be used at all: Vault signs with no older one and
// lists none. Both minimum versions go up in one request, for Vault refuses either alone where they would
// cross. Neither is ever lowered: what is there already, is read first, and a version that was withdrawn
// meanwhile stays so.
//
// Vault knows no compare-and-set. Where another raises the minimums between our reading and our writing, ours
// would lower them again. For retired versions that does no harm (by their age they are retired whatever the
// minimum says); after a compromise Trim makes the end final.
func (c *Client) Retire(ctx context.Context, key string, to int) error {
	record, err := c.ReadVersions(ctx, key)
	if err != nil {
		return err
	}
	if to < 1 || to > record.Latest {
		return fmt.Errorf("vault: key %s: its versions are 1 to %d: %d cannot be the lowest", key, record.Latest, to)
	}
	decryption, encryption := max(record.MinDecryptionVersion, to), max(record.MinEncryptionVersion, to)
	if decryption == record.MinDecryptionVersion && encryption == record.MinEncryptionVersion {
		return nil
	}
	_, err = c.write(ctx, "retire", c.path("keys", key)+"/config",
		map[string]any{"min_decryption_version": decryption, "min_encryption_version": encryption})
	return err
}

// Trim destroys the versions of a key below to, private halves and all, for ever. They must have been retired
// before. Where they are gone already it does nothing.
func (c *Client) Trim(ctx context.Context, key string, to int) error {
	record, err := c.ReadVersions(ctx, key)
	if err != nil {
		return err
	}
	if to <= record.MinAvailableVersion {
		return nil
	}
	if to > record.MinDecryptionVersion || to > record.MinEncryptionVersion {
		return fmt.Errorf("vault: key %s: versions below %d cannot be destroyed while the minimum versions are %d and %d: retire them first",
			key, to, record.MinDecryptionVersion, record.MinEncryptionVersion)
	}
	_, err = c.write(ctx, "trim", c.path("keys", key)+"/trim", map[string]any{"min_available_version": to})
	return err
}
