package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/assaypdp/assay/pdp"
)

// receiptJSON is a receipt as answers have it, or an answer that has one.
type receiptJSON struct {
	Receipt  *receiptJSON `json:"receipt"`
	Log      string       `json:"log"`
	Index    *int64       `json:"index"`
	LeafHash string       `json:"leaf_hash"`
}

// readReceipts reads the receipts out of files of JSON values: receipts, answers, or lists of either. Answers without one
// are passed over; a file without any receipt is a mistake.
func readReceipts(paths []string) ([]pdp.Receipt, error) {
	var all []pdp.Receipt
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		receipts, err := decodeReceipts(file)
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(receipts) == 0 {
			return nil, fmt.Errorf("%s has no receipt: answers have one where audit.mode is durable", path)
		}
		all = append(all, receipts...)
	}
	return all, nil
}

func decodeReceipts(r io.Reader) ([]pdp.Receipt, error) {
	var all []pdp.Receipt
	for decoder := json.NewDecoder(r); ; {
		var value json.RawMessage
		if err := decoder.Decode(&value); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		list := []receiptJSON{{}}
		into := any(&list[0])
		if value[0] == '[' {
			into = &list
		}
		if err := json.Unmarshal(value, into); err != nil {
			return nil, err
		}
		for i := range list {
			receipt, err := list[i].receipt()
			if err != nil {
				return nil, err
			}
			if receipt != nil {
				all = append(all, *receipt)
			}
		}
	}
}

func (r *receiptJSON) receipt() (*pdp.Receipt, error) {
	if r.Receipt != nil {
		return r.Receipt.receipt()
	}
	if r.LeafHash == "" {
		return nil, nil //nolint:nilnil // an answer without a receipt
	}
	leaf, err := base64.StdEncoding.DecodeString(r.LeafHash)
	if err != nil || len(leaf) != 32 || r.Index == nil || r.Log == "" {
		return nil, fmt.Errorf("a receipt has log, index and leaf_hash (32 bytes in base64); this one has log %q and leaf_hash %.60q", r.Log, r.LeafHash)
	}
	return &pdp.Receipt{Log: r.Log, Index: *r.Index, LeafHash: [32]byte(leaf)}, nil
}
