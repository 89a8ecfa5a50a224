// Command muxpeer is the yardstick for the HTTP part: a gorilla/mux handler that decodes a decide request
// with encoding/json, as one writes it first, and encodes an answer of the same members. It decides nothing.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/gorilla/mux"
)

type request struct {
	Token   string `json:"token"`
	Request struct {
		Audience  string `json:"audience"`
		TokenType string `json:"token_type"`
		Action    string `json:"action"`
		Resource  string `json:"resource"`
		Method    string `json:"method"`
		Path      string `json:"path"`
		ClientIP  string `json:"client_ip"`
	} `json:"request"`
	Purpose string         `json:"purpose"`
	Context map[string]any `json:"context"`
}

type answer struct {
	DecisionID string   `json:"decision_id"`
	Allow      bool     `json:"allow"`
	Reasons    []string `json:"reasons"`
	Token      struct {
		Status    string `json:"status"`
		Kind      string `json:"kind"`
		Alg       string `json:"alg"`
		Kid       string `json:"kid"`
		Typ       string `json:"typ"`
		Issuer    string `json:"issuer"`
		TokenID   string `json:"token_id"`
		ExpiresAt int64  `json:"expires_at"`
	} `json:"token"`
	Claims          map[string]any    `json:"claims"`
	Obligations     map[string]any    `json:"obligations"`
	CacheForSeconds int               `json:"cache_for_seconds"`
	Policy          map[string]string `json:"policy"`
	EvaluatedAt     string            `json:"evaluated_at"`
}

func decide(w http.ResponseWriter, r *http.Request) {
	var asked request
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil || asked.Token == "" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	a := answer{
		DecisionID: "01M86PG22CP0NFYY1M29063CEV", Allow: true, Reasons: []string{}, Obligations: map[string]any{},
		Claims: map[string]any{
			"iss": "https://idp.example", "sub": "user-1", "aud": asked.Request.Audience, "exp": 1795524834, "iat": 1795521234,
			"jti": "token-1", "client_id": "web", "scope": "orders:read orders:write",
		},
		CacheForSeconds: 30, Policy: map[string]string{"revision": "TXajFn-ne83JtcJ_4vwtivNpVGCkRtEIDXos62HpHQ0"},
		EvaluatedAt: time.Now().UTC().Format(time.RFC3339Nano),
	}
	a.Token.Status, a.Token.Kind, a.Token.Alg, a.Token.Kid, a.Token.Typ = "verified", "jws", "ES256", "k1", "at+jwt"
	a.Token.Issuer, a.Token.TokenID, a.Token.ExpiresAt = "https://idp.example", "token-1", 1795524834
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a); err != nil {
		log.Print(err)
	}
}

func main() {
	router := mux.NewRouter()
	router.HandleFunc("/decide", decide).Methods(http.MethodPost)
	log.Fatal(http.ListenAndServe(os.Args[1], router))
}
