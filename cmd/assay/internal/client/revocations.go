package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// Order asks for something to be revoked: a Token, or Kind, Issuer and Value. Times are seconds since the epoch;
// zero leaves them to the server.
type Order struct {
	Token        string `json:"token,omitempty"`
	Kind         string `json:"kind,omitempty"`
	Issuer       string `json:"issuer,omitempty"`
	Value        string `json:"value,omitempty"`
	IssuedBefore int64  `json:"issued_before,omitempty"`
	Ends         int64  `json:"ends,omitempty"`
	Reason       string `json:"reason,omitempty"`
	Ticket       string `json:"ticket,omitempty"`
}

// Revocation is one entry in force. Times are seconds since the epoch.
type Revocation struct {
	Key          string `json:"key"`
	Kind         string `json:"kind"`
	Issuer       string `json:"issuer"`
	Value        string `json:"value,omitempty"`
	IssuedBefore int64  `json:"issued_before,omitempty"`
	Ends         int64  `json:"ends"`
	Reason       string `json:"reason,omitempty"`
	Actor        string `json:"actor,omitempty"`
	Ticket       string `json:"ticket,omitempty"`
	CreatedAt    int64  `json:"created_at"`
}

// Query selects entries; empty members select all.
type Query struct{ Kind, Issuer, Actor string }

// Add revokes. It returns once the entry is stored and in force at the server that was asked; created tells that
// there was none of that key before.
func (c *Client) Add(ctx context.Context, o Order) (r Revocation, created bool, err error) {
	status, err := c.call(ctx, http.MethodPost, "/revocations", nil, o, &r)
	return r, status == http.StatusCreated, err
}

// Revoke revokes a key by its RFC 7638 thumbprint, for the tokens of that issuer.
func (c *Client) Revoke(ctx context.Context, issuer, thumbprint, reason, ticket string) error {
	_, _, err := c.Add(ctx, Order{Kind: "key", Issuer: issuer, Value: thumbprint, Reason: reason, Ticket: ticket})
	return err
}

// Lift removes an entry. That there is none is an *Error with status 404.
func (c *Client) Lift(ctx context.Context, key, reason, ticket string) error {
	query := url.Values{}
	set(query, "reason", reason)
	set(query, "ticket", ticket)
	_, err := c.call(ctx, http.MethodDelete, "/revocations/"+url.PathEscape(key), query, nil, nil)
	return err
}

// Find gives one entry. That there is none is an *Error with status 404.
func (c *Client) Find(ctx context.Context, key string) (r Revocation, err error) {
	_, err = c.call(ctx, http.MethodGet, "/revocations/"+url.PathEscape(key), nil, nil, &r)
	return r, err
}

func (q Query) values() url.Values {
	values := url.Values{}
	set(values, "kind", q.Kind)
	set(values, "issuer", q.Issuer)
	set(values, "actor", q.Actor)
	return values
}

// Each gives every selected entry to visit, page by page, until it returns an error.
func (c *Client) Each(ctx context.Context, q Query, visit func(Revocation) error) error {
	query := q.values()
	query.Set("limit", strconv.Itoa(pageSize))
	for {
		var page struct {
			Revocations []Revocation `json:"revocations"`
			Next        string       `json:"next"`
		}
		if _, err := c.call(ctx, http.MethodGet, "/revocations", query, nil, &page); err != nil {
			return err
		}
		for _, r := range page.Revocations {
			if err := visit(r); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		query.Set("cursor", page.Next)
	}
}

// Change is one entry that was made, extended or lifted. At is in seconds since the epoch.
type Change struct {
	Lifted     bool       `json:"lifted"`
	At         int64      `json:"at"`
	Revocation Revocation `json:"revocation"`
}

// Watch gives every selected change from now on to visit, until that returns an error or ctx ends. ready, which may
// be nil, is called once nothing is missed any more.
func (c *Client) Watch(ctx context.Context, q Query, ready func(), visit func(Change) error) error {
	query := q.values()
	for {
		var answer struct {
			Changes []Change `json:"changes"`
			Next    string   `json:"next"`
		}
		if _, err := c.call(ctx, http.MethodGet, "/revocations/changes", query, nil, &answer); err != nil {
			return err
		}
		if ready != nil {
			ready()
			ready = nil
		}
		for _, change := range answer.Changes {
			if err := visit(change); err != nil {
				return err
			}
		}
		query.Set("cursor", answer.Next)
	}
}

const pageSize = 1000

func set(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}
