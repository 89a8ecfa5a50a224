package ledger

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// InclusionHeader is the first line of a C2SP tlog-proof.
const InclusionHeader = "c2sp.org/tlog-proof@v1"

// mostHashes is how long a proof can be: one hash a level of a tree of 2^63 records.
const mostHashes = 63

// MarshalText writes a C2SP tlog-proof: the header, the record as "extra" data, the index, the hashes, a blank line and
// the checkpoint.
func (p *Inclusion) MarshalText() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(InclusionHeader + "\n")
	if p.Record != nil {
		b.WriteString("extra " + base64.StdEncoding.EncodeToString(p.Record) + "\n")
	}
	fmt.Fprintf(&b, "index %d\n", p.Index)
	writeHashes(&b, p.Hashes)
	b.Write(p.Checkpoint)
	return b.Bytes(), nil
}

// UnmarshalText reads a C2SP tlog-proof, and nothing that is not exactly one.
func (p *Inclusion) UnmarshalText(text []byte) error {
	rest, ok := strings.CutPrefix(string(text), InclusionHeader+"\n")
	if !ok {
		return fmt.Errorf("a proof of inclusion begins with the line %s", InclusionHeader)
	}
	var record []byte
	if extra, after, ok := cutLine(rest, "extra "); ok {
		var err error
		if record, err = base64.StdEncoding.Strict().DecodeString(extra); err != nil || base64.StdEncoding.EncodedLen(len(record)) != len(extra) {
			return errors.New("the extra data is not base64")
		}
		rest = after
	}
	digits, rest, ok := cutLine(rest, "index ")
	if !ok {
		return errors.New("the line with the index is missing")
	}
	index, err := readNumber(digits)
	if err != nil {
		return fmt.Errorf("the index: %w", err)
	}
	hashes, checkpoint, err := readHashes(rest)
	if err != nil {
		return err
	}
	*p = Inclusion{Index: index, Hashes: hashes, Checkpoint: checkpoint, Record: record}
	return nil
}

// MarshalText writes the body of a C2SP tlog-witness add-checkpoint request: the older size, the hashes, a blank line
// and the newer checkpoint.
func (p *Consistency) MarshalText() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", p.OldSize)
	writeHashes(&b, p.Hashes)
	b.Write(p.Checkpoint)
	return b.Bytes(), nil
}

// UnmarshalText reads what MarshalText writes.
func (p *Consistency) UnmarshalText(text []byte) error {
	digits, rest, ok := cutLine(string(text), "old ")
	if !ok {
		return errors.New("a proof of consistency begins with a line \"old\" and a size")
	}
	size, err := readNumber(digits)
	if err != nil {
		return fmt.Errorf("the older size: %w", err)
	}
	hashes, checkpoint, err := readHashes(rest)
	if err != nil {
		return err
	}
	*p = Consistency{OldSize: size, Hashes: hashes, Checkpoint: checkpoint}
	return nil
}

func writeHashes(b *bytes.Buffer, hashes []tlog.Hash) {
	for _, h := range hashes {
		b.WriteString(h.String() + "\n")
	}
	b.WriteString("\n")
}

// cutLine takes a line with that beginning off a text.
func cutLine(text, beginning string) (line, rest string, ok bool) {
	line, rest, ok = strings.Cut(text, "\n")
	if line, found := strings.CutPrefix(line, beginning); ok && found {
		return line, rest, true
	}
	return "", text, false
}

// readNumber reads a decimal without leading zeros.
func readNumber(digits string) (int64, error) {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != digits {
		return 0, fmt.Errorf("%.40q is no number", digits)
	}
	return n, nil
}

// readHashes reads hashes, a line each, up to a blank line; what follows is the checkpoint.
func readHashes(text string) (hashes []tlog.Hash, checkpoint []byte, err error) {
	for {
		line, rest, ok := strings.Cut(text, "\n")
		switch {
		case !ok:
			return nil, nil, errors.New("the blank line before the checkpoint is missing")
		case line == "":
			return hashes, []byte(rest), nil
		case len(hashes) == mostHashes:
			return nil, nil, fmt.Errorf("there are more than %d hashes", mostHashes)
		}
		h, err := tlog.ParseHash(line)
		if err != nil || h.String() != line {
			return nil, nil, fmt.Errorf("%.60q is no hash in base64", line)
		}
		hashes = append(hashes, h)
		text = rest
	}
}
