package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Decode reads a record of the log. Members that it does not know are ignored; what follows the object is an error.
func Decode(record []byte) (*Event, error) {
	var e Event
	if err := json.Unmarshal(record, &e); err != nil {
		return nil, fmt.Errorf("audit: not a record: %w", err)
	}
	if e.Path == "" || e.Custom.Assay.Kind == "" {
		return nil, errors.New("audit: not a record: it has no path or no kind")
	}
	return &e, nil
}

func decodeNumbers(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
