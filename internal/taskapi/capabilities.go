package taskapi

import (
	"log/slog"
	"net/http"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/capability"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

const (
	pathCapabilities = "/v1/capabilities"
	// inherit is how agents say, as the CLI does, that their model is the one of who
	// starts them.
	inherit = "inherit"
)

// Catalogue knows the agents and skills that there are: a capability.Catalogue.
type Catalogue interface {
	Allowed(p gateway.Permissions, directory string) capability.Allowed
}

// Capabilities serves GET /v1/capabilities. It is safe for concurrent use.
type Capabilities struct {
	Gateway   *gateway.Gateway
	Catalogue Catalogue
	Log       *slog.Logger // nil: silent
}

// Register adds the route to mux.
func (h *Capabilities) Register(mux *http.ServeMux) {
	mux.Handle("GET "+pathCapabilities, protocol.Handle(h.Gateway, pathCapabilities, h.serve, h.writeError))
}

func (h *Capabilities) writeError(w http.ResponseWriter, r *http.Request, call *gateway.Call, err error) {
	protocol.SetHeader(w.Header(), call)
	protocol.WriteFlatError(w, r, h.Log, 0, err)
}

func (h *Capabilities) serve(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	directory := ""
	query := r.URL.Query()
	for name := range query {
		if name != "working_directory" {
			return apierror.Invalid("", "there is no such parameter; there is working_directory")
		}
	}
	if asked := query.Get("working_directory"); asked != "" {
		var err error
		if directory, err = h.Gateway.Directory(call.Caller, asked); err != nil {
			return err
		}
	}
	allowed := h.Catalogue.Allowed(call.Caller.Permissions, directory)
	dst := []byte(`{"agents":[`)
	for i, a := range allowed.Agents {
		dst = appendNamed(dst, i, a.Name, a.Description, a.Origin)
		tools, model := a.Tools, a.Model
		if tools == nil {
			tools = []string{gateway.All}
		}
		if model == "" {
			model = inherit
		}
		dst = appendTexts(append(dst, `,"tools":`...), tools)
		dst = append(protocol.AppendText(append(dst, `,"model":`...), model), '}')
	}
	dst = append(dst, `],"skills":[`...)
	for i, s := range allowed.Skills {
		dst = appendNamed(dst, i, s.Name, s.Description, s.Origin)
		dst = append(appendTexts(append(dst, `,"tools":`...), s.Tools), '}')
	}
	dst = appendTexts(append(dst, `],"tools":`...), allowed.Tools)
	protocol.SetHeader(w.Header(), call)
	return protocol.WriteJSON(w, http.StatusOK, append(dst, '}'))
}

func appendNamed(dst []byte, i int, name, description string, origin capability.Origin) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	dst = protocol.AppendText(append(dst, `{"name":`...), name)
	dst = protocol.AppendText(append(dst, `,"description":`...), description)
	return protocol.AppendText(append(dst, `,"origin":`...), string(origin))
}

func appendTexts(dst []byte, texts []string) []byte {
	dst = append(dst, '[')
	for i, text := range texts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = protocol.AppendText(dst, text)
	}
	return append(dst, ']')
}

// Operations documents the endpoint.
func (h *Capabilities) Operations() []openapi.Operation {
	origin := openapi.Words(string(capability.BuiltIn), string(capability.Home), string(capability.Project))
	origin.Description = "Where it comes from: the CLI itself, its HOME, or the project of the working_directory."
	failed := openapi.Members("CapabilitiesError", "", protocol.FlatError(openapi.Always)...)
	return []openapi.Operation{{
		Method: http.MethodGet, Path: pathCapabilities, ID: "capabilities", Tag: "Tasks",
		Summary:     "The agents, skills and tools that the key's tasks and sessions may use.",
		Description: "Agents and skills are read from the configured HOME of the CLI and from the project, and watched: changes are seen within a second.",
		Parameters: []openapi.Parameter{{
			Name: "working_directory", In: "query", Description: "A folder that the key may work in: what the project there brings is listed too.", Schema: openapi.Text(""),
		}},
		Responses: protocol.WithHeaders(false, nil, []openapi.Response{
			{Status: http.StatusOK, Description: "What there is and the key's profile allows.", Schema: openapi.Members("Capabilities", "",
				openapi.Always("agents", openapi.List(openapi.Members("CapabilitiesAgent", "",
					openapi.Always("name", openapi.Text("As allow_agents takes it.")),
					openapi.Always("description", openapi.Text("When to use it.")),
					openapi.Always("origin", origin),
					openapi.Always("tools", openapi.List(openapi.Text("A tool that it works with; \"*\" is all."))),
					openapi.Always("model", openapi.Text("An alias or a full id; \"inherit\" is the one of who starts it.")),
				))),
				openapi.Always("skills", openapi.List(openapi.Members("CapabilitiesSkill", "",
					openapi.Always("name", openapi.Text("As allow_skills takes it.")),
					openapi.Always("description", openapi.Text("When to use it.")),
					openapi.Always("origin", origin),
					openapi.Always("tools", openapi.List(openapi.Text("A tool that it says it needs. The profile decides on that all the same."))),
				))),
				openapi.Always("tools", openapi.List(openapi.Text("As allow_tools takes it."))),
			)},
			{Status: http.StatusBadRequest, Schema: failed},
			{Status: http.StatusUnauthorized, Schema: failed},
			{Status: http.StatusForbidden, Description: protocol.Forbidden, Schema: failed},
		}),
	}}
}
