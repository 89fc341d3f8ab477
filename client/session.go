package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// SessionRequest says what a session is to be. What is left out has the service's
// default.
type SessionRequest struct {
	Model  string `json:"model,omitzero"`
	System string `json:"system,omitzero"` // is added to the CLI's own
	// Tools, Agents and Skills are those that may be used; nil: all that the profile
	// allows; empty: none.
	Tools            []string `json:"allowed_tools,omitzero"`
	Agents           []string `json:"allowed_agents,omitzero"`
	Skills           []string `json:"allowed_skills,omitzero"`
	WorkingDirectory string   `json:"working_directory,omitzero"`
	// TTL is how long it is kept after its last message, in whole seconds.
	TTL time.Duration `json:"-"`
}

// Session is a conversation that the service keeps. Messages are sent to it with
// ProcessRequest.SessionID.
type Session struct {
	ID               string    `json:"id"`
	ParentID         string    `json:"parent_id"` // the session that it was forked from, or ""
	Model            string    `json:"model"`
	System           string    `json:"system,omitzero"` // not in lists
	Tools            []string  `json:"allowed_tools"`
	Agents           []string  `json:"allowed_agents"`
	Skills           []string  `json:"allowed_skills"`
	WorkingDirectory string    `json:"working_directory"` // "": a workspace of its own
	Turns            int       `json:"turns"`
	CreatedAt        time.Time `json:"created_at"`
	LastUsedAt       time.Time `json:"last_used_at"`
	ExpiresAt        time.Time `json:"expires_at"`
	TTL              int64     `json:"ttl"` // seconds
}

const pathSessions = "/v1/sessions"

func pathOfSession(id string) string { return pathSessions + "/" + url.PathEscape(id) }

func (c *Client) session(ctx context.Context, method, path string, body any) (*Session, error) {
	s := &Session{}
	if err := c.ask(ctx, method, path, body, s, newCall(nil)); err != nil {
		return nil, err
	}
	return s, nil
}

// CreateSession makes a session.
func (c *Client) CreateSession(ctx context.Context, request SessionRequest) (*Session, error) {
	return c.session(ctx, http.MethodPost, pathSessions, struct {
		SessionRequest
		TTL int64 `json:"ttl,omitzero"`
	}{request, int64(request.TTL / time.Second)})
}

// ListSessions lists the key's sessions, the one used last first.
func (c *Client) ListSessions(ctx context.Context) ([]Session, error) {
	var read struct {
		Sessions []Session `json:"sessions"`
	}
	err := c.ask(ctx, http.MethodGet, pathSessions, nil, &read, newCall(nil))
	return read.Sessions, err
}

// GetSession gives one session.
func (c *Client) GetSession(ctx context.Context, id string) (*Session, error) {
	return c.session(ctx, http.MethodGet, pathOfSession(id), nil)
}

// ForkSession makes a session that goes on from what another one is now.
func (c *Client) ForkSession(ctx context.Context, id string) (*Session, error) {
	return c.session(ctx, http.MethodPost, pathOfSession(id)+"/fork", nil)
}

// DeleteSession ends a session and forgets it.
func (c *Client) DeleteSession(ctx context.Context, id string) error {
	return c.ask(ctx, http.MethodDelete, pathOfSession(id), nil, nil, newCall(nil))
}
