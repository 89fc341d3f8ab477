package sessionapi

import (
	"time"

	"claude-code-api-service/internal/session"
)

// sessionView is a session as callers see it.
type sessionView struct {
	ID        string   `json:"id"`
	Object    string   `json:"object"`
	Parent    *string  `json:"parent_id"`
	Model     string   `json:"model"`
	System    string   `json:"system,omitzero"`
	Tools     []string `json:"allowed_tools"`
	Agents    []string `json:"allowed_agents"`
	Skills    []string `json:"allowed_skills"`
	Directory *string  `json:"working_directory"`
	Turns     int      `json:"turns"`
	Created   string   `json:"created_at"`
	Used      string   `json:"last_used_at"`
	Expires   string   `json:"expires_at"`
	TTL       int64    `json:"ttl"`
}

type listView struct {
	Sessions []sessionView `json:"sessions"`
}

type deletedView struct {
	ID      string `json:"id"`
	Deleted bool   `json:"deleted"`
}

func view(s *session.Session) sessionView {
	return sessionView{
		ID: s.ID, Object: "session", Parent: orNull(s.Parent), Model: s.Model, System: s.System,
		Tools: s.Tools, Agents: s.Agents, Skills: s.Skills, Directory: orNull(s.Directory), Turns: s.Turns,
		Created: moment(s.Created), Used: moment(s.Used), Expires: moment(s.Expires()), TTL: int64(s.TTL / time.Second),
	}
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }
