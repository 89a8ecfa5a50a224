package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/assaypdp/assay/pdp/audit/ledger"
	"github.com/assaypdp/assay/pdp/audit/report"
)

// checking is the verification of the log for a report.
type checking struct {
	skip      bool
	verifiers note.Verifiers // nil: signatures are not checked, for the reason that without says
	without   string
	anchors   []ledger.Anchor
	found     *ledger.Report
}

// checking finds the keys: those given, else those that Vault has. Where it cannot be asked the report is made all the same,
// and says so.
func (r *reporting) checking(ctx context.Context) (*checking, error) {
	c := &checking{skip: r.unverified, without: "no key was given (--key)"}
	if r.unverified {
		return c, nil
	}
	var err error
	if c.verifiers, err = givenVerifiers(r.verifierKeys); err != nil {
		return nil, err
	}
	if c.anchors, err = readAnchors(r.anchors); err != nil {
		return nil, fmt.Errorf("--checkpoint: %w", err)
	}
	if c.verifiers != nil || r.place.config == "" {
		return c, nil
	}
	configured, err := readConfig(r.place.config)
	if err != nil || configured.Audit.Checkpoint.Key == "" {
		return c, err
	}
	verifiers, err := vaultVerifiers(ctx, r.e, configured)
	if err != nil {
		c.without = "no key was given (--key), and Vault could not be asked for it"
		_, err := fmt.Fprintf(r.e.err, "assay: signatures are not checked: Vault could not be asked for the key: %v\n", err)
		return c, err
	}
	c.verifiers = verifiers
	return c, nil
}

func (c *checking) run(ctx context.Context, dir string) (err error) {
	if !c.skip {
		c.found, err = ledger.Verify(ctx, ledger.VerifyConfig{Dir: dir, Verifiers: c.verifiers, Anchors: c.anchors, MaxFindings: 200})
	}
	return err
}

// integrity says what the verification found, and which checkpoints enclose the period, whose last record is last.
func (r *reporting) integrity(c *checking, last int64) (report.Integrity, error) {
	i := report.Integrity{State: report.NotVerified, How: "The log was not verified (--no-verify); assay audit verify does it."}
	if c.found != nil {
		c.tell(&i)
	}
	checkpoints, err := r.reader.Checkpoints()
	if err != nil {
		return i, err
	}
	r.enclose(&i, checkpoints, last, c.verifiers)
	return i, nil
}

// tell puts what was found into words.
func (c *checking) tell(i *report.Integrity) {
	found := c.found
	i.State, i.Records, i.Origin = report.Verified, found.Records, found.Origin
	i.How = fmt.Sprintf("All %d records that the log holds were read and hashed, and the tree was compared with %d checkpoints; the largest covers %d records.",
		found.Records, found.Checkpoints, found.Witnessed)
	switch {
	case !found.Sound():
		i.State = report.Damaged
	case found.Checkpoints == 0:
		i.State = report.NotVerified
		i.How += " Without a checkpoint nothing says what the log should be."
	case !found.SignaturesChecked:
		i.State = report.Consistent
		i.How += " The checkpoints' signatures were not checked: " + c.without + ". The log agrees with itself, and whoever can write its folder could have made it so."
	default:
		i.How += " Each checkpoint was signed by a key that is trusted for it."
	}
	switch {
	case found.Anchored > 0:
		i.How += fmt.Sprintf(" Of checkpoints kept outside the log, %d agreed with it; the largest covers %d records. Behind them an end that was cut off together with its checkpoints would not show.",
			found.Anchors, found.Anchored)
	default:
		i.How += " It was compared with no checkpoint kept outside the log (--checkpoint), so an end that was cut off together with its checkpoints would not show."
	}
	if found.Trimmed > 0 {
		i.How += fmt.Sprintf(" Of %d checkpoints over records that retention deleted, only signature, size and order could be checked.", found.Trimmed)
	}
	for _, f := range found.Findings {
		i.Findings = append(i.Findings, sentence(f))
	}
	if found.Omitted > 0 {
		i.Findings = append(i.Findings, fmt.Sprintf("and %d more; assay audit verify lists them", found.Omitted))
	}
}

func sentence(f ledger.Finding) string {
	text := string(f.Kind) + ": " + f.What
	if f.Index >= 0 {
		text = fmt.Sprintf("record %d, %s", f.Index, text)
	}
	if place := placeOf(&f); place != "" {
		text += " (" + place + ")"
	}
	return text
}

// enclose finds the checkpoints around the period: the last that was signed before it, and the first that covers its
// last record. There may be hundreds of thousands: only those two are opened.
func (r *reporting) enclose(i *report.Integrity, checkpoints []ledger.Checkpoint, last int64, verifiers note.Verifiers) {
	var first, end *ledger.Checkpoint
	covering := false
	for n := range checkpoints {
		c := &checkpoints[n]
		before, inside := c.Time.Before(r.begin), !c.Time.Before(r.begin) && c.Time.Before(r.end)
		if inside {
			i.Checkpoints++
		}
		if before || first == nil {
			first = c
		}
		if !covering && !before {
			_, size, _, err := checkpointLines(c.Note)
			end, covering = c, last >= 0 && err == nil && size > last
		}
	}
	i.First, i.Last = openCheckpoint(i, first, verifiers), openCheckpoint(i, end, verifiers)
}

// openCheckpoint reads a signed note; nil where there is none, or none that can be read, which the verification tells. Signers
// that no key was given for are called so.
func openCheckpoint(i *report.Integrity, c *ledger.Checkpoint, verifiers note.Verifiers) *report.Checkpoint {
	if c == nil {
		return nil
	}
	if verifiers == nil {
		verifiers = note.VerifierList()
	}
	opened, err := note.Open([]byte(c.Note), verifiers)
	if unverified, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
		opened, err = unverified.Note, nil
	}
	if err != nil {
		return nil
	}
	origin, size, root, err := checkpointLines(opened.Text)
	if err != nil {
		return nil
	}
	i.Origin = origin
	read := &report.Checkpoint{At: c.Time.UTC(), Size: size, Root: root, Signers: []string{}}
	for _, s := range opened.Sigs {
		read.Signers = append(read.Signers, fmt.Sprintf("%s+%08x", s.Name, s.Hash))
	}
	for _, s := range opened.UnverifiedSigs {
		read.Signers = append(read.Signers, fmt.Sprintf("%s+%08x (not checked)", s.Name, s.Hash))
	}
	return read
}

// checkpointLines takes origin, size and root hash out of a note's text.
func checkpointLines(text string) (origin string, size int64, root string, err error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 {
		return "", 0, "", errors.New("a checkpoint has three lines")
	}
	if size, err = strconv.ParseInt(lines[1], 10, 64); err == nil {
		_, err = base64.StdEncoding.DecodeString(lines[2])
	}
	return lines[0], size, lines[2], err
}

const verifierKeysHelp = "public key of who signs checkpoints, in the form name+hash+key (golang.org/x/mod/sumdb/note), or a file with such keys; may be repeated"

// givenVerifiers reads what --key was given; nil where it was not given. A file without a key is an error: it is not the same
// as no --key, for which other keys would count, or none. What stands in a file is never told, since the wrong one was named.
func givenVerifiers(given []string) (note.Verifiers, error) {
	var list []note.Verifier
	for _, text := range given {
		verifiers, err := verifiersIn(text)
		if err != nil {
			return nil, err
		}
		list = append(list, verifiers...)
	}
	if len(list) == 0 {
		return nil, nil //nolint:nilnil // no keys: no signature is checked, and the report says so
	}
	return note.VerifierList(list...), nil
}

// verifiersIn reads one --key: keys, or the name of a file with keys.
func verifiersIn(given string) ([]note.Verifier, error) {
	if strings.TrimSpace(given) == "" {
		return nil, errors.New("--key is empty: give " + verifierKeysHelp)
	}
	if list, _, err := parseVerifiers(given); err == nil {
		return list, nil
	}
	name := "--key " + visible(given)
	if strings.HasPrefix(given, "PRIVATE+KEY+") || strings.Contains(given, "\n") { // a signer's own key, or what a file holds
		name = "--key"
	}
	info, err := os.Stat(given)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: neither a file with keys nor a key such as assay.example/audit+7f3c2a11+AbCd…: there is no such file", name)
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("%s is a folder: name a file with keys", name)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(given)
	}
	if err != nil {
		if failed, ok := errors.AsType[*fs.PathError](err); ok {
			err = failed.Err // without the name once more
		}
		return nil, fmt.Errorf("%s is no key, and no file that can be read: %w", name, err)
	}
	list, line, err := parseVerifiers(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: line %d is no key such as assay.example/audit+7f3c2a11+AbCd…: %w", name, line, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s holds no key", name)
	}
	return list, nil
}

// parseVerifiers reads keys between blanks; line is that of the one that is none. The error has nothing of the text.
func parseVerifiers(text string) (list []note.Verifier, line int, err error) {
	for content := range strings.Lines(text) {
		line++
		for key := range strings.FieldsSeq(content) {
			verifier, err := note.NewVerifier(key)
			if err != nil {
				return nil, line, err
			}
			list = append(list, verifier)
		}
	}
	return list, line, nil
}
