package processapi

import "claude-code-api-service/internal/openapi"

// What several tables document alike.

func useCLISchema() *openapi.Schema {
	return openapi.Nullable(openapi.Flag("true asks for the CLI, false for the direct API; absent takes the configured default. The header X-Claude-Backend wins."))
}

func projectSchema() *openapi.Schema {
	return openapi.Nullable(&openapi.Schema{Type: openapi.String, Default: defaultProject, Description: "Never bills another project than the key's; another name is answered with a warning."})
}

func timeoutSchema() *openapi.Schema {
	return openapi.Nullable(&openapi.Schema{Type: openapi.Number, Minimum: 0, Maximum: maxTimeout, Description: "Seconds after which the request fails with 504; 0 sets none."})
}

func stopSchema() *openapi.Schema {
	return &openapi.Schema{AnyOf: []*openapi.Schema{openapi.Text(""), {Type: openapi.Array, Items: openapi.Text("")}, {Type: openapi.Null}}}
}

// ignored is a member of any type.
func ignored() *openapi.Schema {
	return &openapi.Schema{
		Description: "Has no effect other than a warning.",
		AnyOf:       []*openapi.Schema{{Type: openapi.Object}, {Type: openapi.Array}, {Type: openapi.String}, {Type: openapi.Number}, {Type: openapi.Boolean}, {Type: openapi.Null}},
	}
}

// wordsSchema is the content of a message of the user's.
func wordsSchema(description string) *openapi.Schema {
	return &openapi.Schema{
		Description: "A text, or parts of a message's content. " + description,
		AnyOf:       []*openapi.Schema{openapi.Text(""), {Type: openapi.Array, Items: &openapi.Schema{Type: openapi.Object}}, {Type: openapi.Null}},
	}
}
