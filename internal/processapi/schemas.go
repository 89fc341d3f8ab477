package processapi

import "claude-code-api-service/internal/openapi"

// What several tables document alike.

func text(description string) *openapi.Schema {
	return &openapi.Schema{Type: openapi.String, Description: description}
}

func flag(description string) *openapi.Schema {
	return &openapi.Schema{Type: openapi.Boolean, Description: description}
}

func number(description string) *openapi.Schema {
	return &openapi.Schema{Type: openapi.Number, Description: description}
}

func integer(description string) *openapi.Schema {
	return &openapi.Schema{Type: openapi.Integer, Description: description}
}

func object(name, description string, properties ...openapi.Property) *openapi.Schema {
	return &openapi.Schema{Name: name, Type: openapi.Object, Description: description, Properties: properties}
}

// always is a member that is never absent, may one that may be.
func always(name string, schema *openapi.Schema) openapi.Property {
	return openapi.Property{Name: name, Schema: schema, Required: true}
}

func may(name string, schema *openapi.Schema) openapi.Property {
	return openapi.Property{Name: name, Schema: schema}
}

// nullable lets a value be null too.
func nullable(schema *openapi.Schema) *openapi.Schema {
	return &openapi.Schema{AnyOf: []*openapi.Schema{schema, {Type: openapi.Null}}}
}

func useCLISchema() *openapi.Schema {
	return nullable(flag("true asks for the CLI, false for the direct API; absent takes the configured default. The header X-Claude-Backend wins."))
}

func projectSchema() *openapi.Schema {
	return nullable(&openapi.Schema{Type: openapi.String, Default: defaultProject, Description: "Never bills another project than the key's; another name is answered with a warning."})
}

func timeoutSchema() *openapi.Schema {
	return nullable(&openapi.Schema{Type: openapi.Number, Minimum: 0, Maximum: maxTimeout, Description: "Seconds after which the request fails with 504; 0 sets none."})
}

func stopSchema() *openapi.Schema {
	return &openapi.Schema{AnyOf: []*openapi.Schema{text(""), {Type: openapi.Array, Items: text("")}, {Type: openapi.Null}}}
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
		AnyOf:       []*openapi.Schema{text(""), {Type: openapi.Array, Items: &openapi.Schema{Type: openapi.Object}}, {Type: openapi.Null}},
	}
}
