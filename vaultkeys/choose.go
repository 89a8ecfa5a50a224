package vaultkeys

import "errors"

// Choose is the key that signs, of several that an issuer has: the first whose signing version was published for
// publish_ahead. Where none was, it is the one whose signing version was published the longest; but one that cannot be
// read now goes before that, for it may be the one that verifiers know, and signing has to wait. Where none can sign,
// it is the first.
//
// So an issuer moves to another key, and another algorithm, by naming the new key before the old: the old one
// signs until verifiers know the new, on every replica at the same moment, and verifies as long as it is named.
func (k *Keyring) Choose(names []string) string {
	now, chosen, unread := k.c.Now(), "", ""
	var since SigningKey
	for _, name := range names {
		// At the one moment: a version that becomes due between two looks at the clock would count as unpublished.
		signer, err := k.signerAt(name, now)
		if errors.Is(err, ErrNotKnown) && unread == "" {
			unread = name
		}
		if err != nil {
			continue
		}
		if !now.Before(signer.Key.Created.Add(k.keys[name].Periods.PublishAhead)) {
			return name
		}
		if chosen == "" || signer.Key.Created.Before(since.Key.Created) {
			chosen, since = name, signer
		}
	}
	switch {
	case unread != "":
		return unread
	case chosen == "" && len(names) > 0:
		return names[0]
	}
	return chosen
}
