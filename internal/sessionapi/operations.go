package sessionapi

import (
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// tag is the family that the operations belong to.
const tag = "Sessions"

// Operations documents the endpoints.
func (h *Handler) Operations() []openapi.Operation {
	one := schema()
	id := []openapi.Parameter{{Name: "id", In: "path", Description: "As the answer to its making named it.", Schema: openapi.Text("")}}
	return []openapi.Operation{
		{
			Method: http.MethodPost, Path: pathSessions, ID: "createSession", Tag: tag, Summary: "Make a session: a conversation that the service keeps.",
			Description: "Messages are sent to it with `session_id` by `POST /v1/chat/completions` and `POST /v1/process`. It works with the CLI's tools, on a process of its own, " +
				"and goes on after that has ended, after a restart and on other nodes. It is the key's alone.",
			Request: requestObject.Schema(), Example: jsontext.Value(`{"model":"sonnet","system":"You are terse.","allowed_tools":["Read"]}`),
			Responses: answers(openapi.Response{Status: http.StatusCreated, Description: "The session. Location says where it is.", Schema: one},
				http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests),
		},
		{
			Method: http.MethodGet, Path: pathSessions, ID: "listSessions", Tag: tag, Summary: "The key's sessions, the one used last first.",
			Responses: answers(openapi.Response{Status: http.StatusOK, Description: "All of them, without their system prompts.", Schema: openapi.Members("SessionList", "",
				openapi.Always("sessions", openapi.List(one)),
			)}),
		},
		{
			Method: http.MethodGet, Path: pathSession, ID: "getSession", Tag: tag, Summary: "One session.", Parameters: id,
			Responses: answers(openapi.Response{Status: http.StatusOK, Description: "The session.", Schema: one}, http.StatusNotFound),
		},
		{
			Method: http.MethodDelete, Path: pathSession, ID: "deleteSession", Tag: tag, Summary: "Forget a session.", Parameters: id,
			Description: "Its process ends, also in the middle of an answer; its conversation is removed, and its workspace where no fork works in it.",
			Responses: answers(openapi.Response{Status: http.StatusOK, Description: "It is gone.", Schema: openapi.Members("SessionDeleted", "",
				openapi.Always("id", openapi.Text("")), openapi.Always("deleted", openapi.Flag("")),
			)}, http.StatusNotFound, http.StatusConflict),
		},
		{
			Method: http.MethodPost, Path: pathFork, ID: "forkSession", Tag: tag, Summary: "Make a session that goes on from what another one is now.", Parameters: id,
			Description: "The other one stays as it is. Both work in the same folder.",
			Responses: answers(openapi.Response{Status: http.StatusCreated, Description: "The new session. Location says where it is.", Schema: one},
				http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusTooManyRequests),
		},
	}
}

// answers adds the errors, of which every endpoint has two.
func answers(ok openapi.Response, statuses ...int) []openapi.Response {
	failed := openapi.Members("SessionError", "", protocol.FlatError(openapi.Always)...)
	list := []openapi.Response{ok}
	descriptions := map[int]string{
		http.StatusForbidden: "The key's profile doesn't allow it.", http.StatusNotFound: "There is none of that name, or it has expired.",
		http.StatusConflict: "The session is answering a message.", http.StatusTooManyRequests: "The key has as many sessions as it may.",
		http.StatusNotImplemented: "This service has no sessions.",
	}
	for _, status := range append(statuses, http.StatusUnauthorized, http.StatusNotImplemented) {
		list = append(list, openapi.Response{Status: status, Description: descriptions[status], Schema: failed})
	}
	return protocol.WithHeaders(false, nil, list)
}

func schema() *openapi.Schema {
	texts := func(of string) *openapi.Schema {
		s := openapi.List(openapi.Text(""))
		s.Description = of + " that may be used; `*` is all that the key's profile allows."
		return s
	}
	return openapi.Members("Session", "",
		openapi.Always("id", openapi.Text("For session_id.")),
		openapi.Always("object", openapi.Words("session")),
		openapi.Always("parent_id", openapi.Nullable(openapi.Text("The session that it was forked from."))),
		openapi.Always("model", openapi.Text("As it was asked for.")),
		openapi.Maybe("system", openapi.Text("")),
		openapi.Always("allowed_tools", texts("Tools")),
		openapi.Always("allowed_agents", texts("Agents")),
		openapi.Always("allowed_skills", texts("Skills")),
		openapi.Always("working_directory", openapi.Nullable(openapi.Text("Null: a workspace of its own."))),
		openapi.Always("turns", openapi.Int("How often it was answered.")),
		openapi.Always("created_at", openapi.Text("RFC 3339.")),
		openapi.Always("last_used_at", openapi.Text("")),
		openapi.Always("expires_at", openapi.Text("When it is forgotten, unless it is used before.")),
		openapi.Always("ttl", openapi.Int("For how many seconds it is kept after its last message.")),
	)
}
