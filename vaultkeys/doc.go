// Package vaultkeys knows the life of signing keys that are kept in Vault's transit engine, and holds
// their public halves.
//
// A signing key is a transit key; its versions are what signs. In which state a version is (pending,
// active, retiring, retired) is computed from Vault's own record of the key (versions, creation times, the
// two minimum versions), the configured periods and the time, and from nothing else. So every replica
// knows the same without talking to the others, a restart loses nothing, and whoever rotates (a custodian,
// an operator, two of them at once) only adds versions: when one begins to sign follows from when it was
// made.
//
// A version is due to sign max(publish_ahead, rotate_every) after it was made. Of those that are due the
// newest signs. Where none is due the oldest one that may sign does: that is the first version of a new
// key, and the promotion of a pending version after a compromise. A version that has a due successor
// goes on verifying until the last token that it can have signed has ended. See README.md for the drawing
// and the arithmetic, States for the rules.
//
// A Keyring polls the records, answers from memory, and goes on with the last good ones while Vault is
// away, up to a limit.
package vaultkeys
