package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/custodian"
)

func newKeysCompromise(e env) *cobra.Command {
	var path string
	var yes bool
	var leak custodian.Compromise
	cmd := &cobra.Command{
		Use:   "compromise [KEY]",
		Short: "Burn a key that leaked: no replica takes its tokens, Vault forgets it, its successor signs",
		Long: `Compromise answers the leak of a signing key, in this order: it revokes the burnt versions on the Assay
at --server, so that every replica denies their tokens at once; raises both minimum versions in Vault, so that
Vault refuses them, they leave the JWKS, and the pending version, which verifiers know, signs; destroys them in
Vault for ever; and adds a new pending version. It then says what it did and what remains to be done.

--version is the newest version that leaked; older ones are burnt with it, for Vault cannot withdraw one alone.
It may be left out on a terminal, where the signing version is proposed. Killed half way, the same command goes
on. It asks on a terminal and needs --yes elsewhere. Exit code 1 where something remains that must be done.

It runs as the role vault.roles.custodian, else with VAULT_TOKEN.`,
		Example: "  assay keys compromise access --version 7 --reason 'found in a crash dump' --ticket SEC-42 --server https://assay.example:8443 --token-file caller.jwt --yes --config assay.yaml",
		Args:    keyArg,
	}
	flags := cmd.Flags()
	flags.StringVarP(&path, "config", "c", "", "configuration file")
	flags.IntVar(&leak.Through, "version", 0, "the newest version that leaked")
	flags.StringVar(&leak.Reason, "reason", "", "why; it is written down (required)")
	flags.StringVar(&leak.Ticket, "ticket", "", "the incident's ticket")
	flags.BoolVar(&yes, "yes", false, "do not ask")
	server := addKeyServer(cmd)
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := keysConfig(path)
		if err != nil {
			return err
		}
		if leak.Key, err = oneKey(c, args); err != nil {
			return err
		}
		if strings.TrimSpace(leak.Reason) == "" {
			return errors.New("--reason is required: it is what the record of this will say")
		}
		return compromise(cmd.Context(), e, c, leak, server, yes, *format)
	}
	return cmd
}

func compromise(ctx context.Context, e env, c *config.Config, leak custodian.Compromise, server *keyServer, yes bool, format output) error {
	client, err := changingClient(e, c)
	if err != nil {
		return err
	}
	var revoker custodian.Revoker = nobody{}
	if connected, err := server.dial(e); err != nil {
		return err
	} else if connected != nil {
		revoker = connected
	}
	record, err := readRecord(ctx, c, client, leak.Key)
	if err != nil {
		return err
	}
	signer, err := vaultkeys.Signer(record, c.Periods(leak.Key), e.now())
	if err != nil {
		return err
	}
	if leak.Through == 0 && yes {
		return fmt.Errorf("--version is required with --yes: version %d of %s signs now, and a second call would burn its successor", signer.Number, leak.Key)
	}
	if leak.Through == 0 {
		leak.Through = signer.Number
	}
	leak.Issuers = serve.IssuersOf(c, leak.Key)
	encrypts := c.Vault.Keys[leak.Key].Encrypts()
	question := fmt.Sprintf("Version %d of %s and all older ones will be burnt for ever: every token that they signed for %s is denied from then on. Version %d signs now.",
		leak.Through, leak.Key, strings.Join(leak.Issuers, ", "), signer.Number)
	if encrypts {
		question = fmt.Sprintf("Version %d of %s and all older ones will be burnt for ever: no token that is encrypted to them is opened from then on. Tokens are encrypted to version %d now.",
			leak.Through, leak.Key, signer.Number)
	}
	if err := confirm(e, yes, question); err != nil {
		return err
	}
	burnt, failed := custodian.Burn(ctx, client, revoker, leak, c.Periods(leak.Key), e.now)
	recorded := recordBurnt(ctx, e, c, leak, burnt, failed)
	remains := remaining(c, leak, burnt, failed, server.address(e))
	if encrypts {
		remains = remainingEncrypted(c, failed)
	}
	if format == "json" {
		err = json.NewEncoder(e.out).Encode(map[string]any{"burnt": burnt, "remains": remains, "complete": failed == nil})
	} else {
		err = printBurnt(e.out, burnt, encrypts, remains)
	}
	if err = errors.Join(err, recorded); err != nil {
		return err
	}
	if _, only := errors.AsType[*custodian.NotRevokedError](failed); failed != nil && (!only || burnt.Pending == 0) {
		return failed
	}
	if failed != nil {
		return errNo
	}
	return nil
}

func recordBurnt(ctx context.Context, e env, c *config.Config, leak custodian.Compromise, b custodian.Burnt, failed error) error {
	details := map[string]any{"through_version": leak.Through, "promoted": b.Promoted, "pending": b.Pending,
		"withdrawn": b.Withdrawn, "destroyed": b.Destroyed, "revocations": len(b.Revoked), "complete": failed == nil}
	return recordChange(ctx, e, c, pdp.Change{Kind: pdp.KeyCompromised, At: e.now(), Target: leak.Key, Reason: leak.Reason, Ticket: leak.Ticket, Details: details})
}

// remaining lists what a person still has to do, the most urgent first.
func remaining(c *config.Config, leak custodian.Compromise, b custodian.Burnt, failed error, server string) []string {
	var list []string
	for _, v := range b.Versions {
		for _, issuer := range leak.Issuers {
			if !slices.Contains(b.Revoked, issuer+" "+v.Thumbprint) {
				list = append(list, fmt.Sprintf("NOT REVOKED: replicas take tokens of version %d until they have read Vault again (%s); revoke it: assay revoke key --issuer %s %s",
					v.Version, c.Vault.Poll, issuer, v.Thumbprint))
			}
		}
	}
	if len(b.Versions) == 0 {
		list = append(list, "Vault listed none of these versions any more, so none was revoked by this call; if an earlier one did not, revoke their thumbprints")
	}
	if failed != nil {
		list = append(list, fmt.Sprintf("It did not all succeed (%s): give the same command again", strings.ReplaceAll(failed.Error(), "\n", "; ")))
	}
	if b.Unknown {
		list = append(list, fmt.Sprintf("Version %d signs, and not every verifier knows it before %s: tokens may be denied until then", b.Promoted, b.KnownBy.UTC().Format(time.RFC3339)))
	}
	list = append(list,
		fmt.Sprintf("Verifiers other than Assay take burnt tokens until their copy of the JWKS expires, %s at most: tell who runs them, restart those that matter", c.Vault.JWKSMaxAge),
		"Holders of burnt tokens have to fetch new ones: expect a wave of requests to the issuer",
		"Find out how it leaked; look in Vault's audit log for signatures that nobody ordered, and in the decision log for burnt tokens that were allowed before")
	if server == "" {
		list = append(list, "No server was named: give --server next time, so that every replica denies at once")
	}
	return list
}

// remainingEncrypted is remaining for a key that tokens are encrypted to. Nothing that it signed is in question; what is,
// is who has read.
func remainingEncrypted(c *config.Config, failed error) []string {
	var list []string
	if failed != nil {
		list = append(list, fmt.Sprintf("It did not all succeed (%s): give the same command again", strings.ReplaceAll(failed.Error(), "\n", "; ")))
	}
	return append(list,
		"Whoever has the key can read every token that was ever encrypted to it: find out which were kept or seen by others, and what personal data they hold (GDPR article 33 gives 72 hours from now)",
		fmt.Sprintf("Senders that keep the JWKS encrypt to the burnt key for %s more: tell who runs them. Such tokens are denied, signature.undecryptable", c.Vault.JWKSMaxAge),
		fmt.Sprintf("Replicas allow what they have opened before until they have read Vault again (%s)", c.Vault.Poll),
		"Find out how it leaked; look in Vault's audit log for decryptions that no decision asked for")
}

func printBurnt(w io.Writer, b custodian.Burnt, encrypts bool, remains []string) error {
	var text strings.Builder
	takesOver := "signs now"
	if encrypts {
		takesOver = "encrypted to now"
	}
	for _, v := range b.Versions {
		fmt.Fprintf(&text, "burnt: version %d of %s, kid %s\n", v.Version, b.Key, v.Thumbprint)
	}
	for _, r := range b.Revoked {
		fmt.Fprintf(&text, "revoked: %s\n", r)
	}
	for _, done := range []struct {
		yes  bool
		what string
	}{
		{b.Withdrawn, "withdrawn: Vault refuses the burnt versions, and the JWKS no longer has them"},
		{b.Destroyed, "destroyed: Vault has forgotten them"},
		{b.Promoted > 0, fmt.Sprintf("%s: version %d, kid %s, made %s", takesOver, b.Promoted, b.KeyID, b.KnownSince.UTC().Format(time.RFC3339))},
		{b.Pending > 0, fmt.Sprintf("pending: version %d", b.Pending)},
	} {
		if done.yes {
			fmt.Fprintln(&text, done.what)
		}
	}
	text.WriteString("\nWhat remains to be done:\n")
	for _, line := range remains {
		fmt.Fprintf(&text, "- %s\n", line)
	}
	_, err := io.WriteString(w, text.String())
	return err
}
