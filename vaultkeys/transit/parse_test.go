package transit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParseSignature(t *testing.T) {
	tests := []struct {
		name  string
		value any
		good  bool
	}{
		{"as asked", "vault:v7:AQID", true},
		{"another version", "vault:v8:AQID", false},
		{"version by prefix", "vault:v77:AQID", false},
		{"version with a sign", "vault:v+7:AQID", false},
		{"version with zeros", "vault:v007:AQID", false},
		{"empty", "vault:v7:", false},
		{"standard base64", "vault:v7:+/+/", false},
		{"padded", "vault:v7:AQ==", false},
		{"bits that are not zero", "vault:v7:AR", false},
		{"line break", "vault:v7:AQ\nID", false},
		{"other scheme", "other:v7:AQID", false},
		{"nothing else", "AQID", false},
		{"number", json.Number("7"), false},
		{"absent", nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			raw, err := parseSignature(test.value, 7)
			if good := err == nil; good != test.good || good != (raw != nil) {
				t.Fatalf("%x, %v", raw, err)
			}
		})
	}
}

// What parseSignature takes is exactly what it would be written as.
func FuzzParseSignature(f *testing.F) {
	for _, seed := range []string{"vault:v7:AQID", "vault:v07:AQID", "vault:v7:", "vault:v7:AR", "vault:v7:AQ==", "::", "vault:v7:AQID:AQID", "vault:v7:A\r\nQID"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		raw, err := parseSignature(text, 7)
		if err != nil {
			if raw != nil {
				t.Fatal("an error and a signature")
			}
			return
		}
		if again := "vault:v7:" + base64.RawURLEncoding.EncodeToString(raw); len(raw) == 0 || again != text {
			t.Fatalf("%q was taken for %q", text, again)
		}
	})
}

func TestBatchOfWhichSomeFail(t *testing.T) {
	good := map[string]any{"signature": "vault:v1:AQID"}
	tests := []struct {
		name    string
		results any
		failed  []bool // nil: the whole answer is refused
	}{
		{"one refused", []any{good, map[string]any{"error": "no"}, good}, []bool{false, true, false}},
		{"one empty", []any{good, good, map[string]any{}}, []bool{false, false, true}},
		{"one of another version", []any{map[string]any{"signature": "vault:v2:AQID"}, good, good}, []bool{true, false, false}},
		{"one is no object", []any{good, "x", good}, []bool{false, true, false}},
		{"too few", []any{good, good}, nil},
		{"too many", []any{good, good, good, good}, nil},
		{"none", nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			made, err := parseBatch(test.results, 1, 3)
			if test.failed == nil {
				if err == nil || made != nil {
					t.Fatalf("%x, %v", made, err)
				}
				return
			}
			batch, ok := errors.AsType[*BatchError](err)
			if !ok {
				t.Fatalf("error %v, want a BatchError", err)
			}
			for i, failed := range test.failed {
				if (batch.Items[i] != nil) != failed || bytes.Equal(made[i], []byte{1, 2, 3}) == failed {
					t.Errorf("item %d: %x, %v", i, made[i], batch.Items[i])
				}
			}
			if !strings.HasPrefix(batch.Error(), "1 of 3") || len(batch.Unwrap()) != 1 {
				t.Errorf("%v", batch)
			}
		})
	}
}

// Vault's record of a key comes over the network: whatever it holds must be an error or a record that can
// be used without another look at its shape.
func FuzzParseRecord(f *testing.F) {
	f.Add(`{"type":"ed25519","latest_version":1,"min_decryption_version":1,"min_encryption_version":0,"keys":{"1":{"creation_time":"2026-11-23T18:00:00.5Z","public_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}}`)
	f.Add(`{"type":"aes256-gcm96","latest_version":1,"min_decryption_version":1,"min_encryption_version":0,"keys":{"1":1795460000}}`)
	f.Add(`{"type":"ecdsa-p256","latest_version":1,"min_decryption_version":1,"min_encryption_version":0,"keys":{"x":{"creation_time":"","public_key":"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"}}}`)
	f.Add(`{"latest_version":1e3,"keys":[]}`)
	f.Fuzz(func(t *testing.T, text string) {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber() // as Vault's client does
		var data map[string]any
		if decoder.Decode(&data) != nil {
			return
		}
		record, err := parseRecord("access", data)
		if err != nil {
			return
		}
		for i, v := range record.Versions {
			if v.Public == nil || i > 0 && v.Number < record.Versions[i-1].Number {
				t.Fatalf("%+v", record)
			}
		}
	})
}
