package simulator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// checkFormat refuses an output format, or a schema, that structured outputs
// don't take.
func (x *exchange) checkFormat() *fault {
	raw := x.req.format.of(x.body)
	if len(raw) == 0 || raw[0] == 'n' {
		return nil
	}
	if x.rules.NoStructuredOutputs {
		return invalid("'%s' does not support output format.", x.req.model.of(x.arena))
	}
	if x.req.cited != nil {
		return invalid("output_config.format: Structured outputs can't be used together with citations.")
	}
	var format struct {
		Type   string         `json:"type"`
		Schema jsontext.Value `json:"schema"`
	}
	if err := json.Unmarshal(raw, &format); err != nil || format.Type != "json_schema" {
		return invalid("output_config.format: Input should be a JSON schema format")
	}
	if format.Schema.Kind() != '{' {
		return invalid("output_config.format.schema: Field required")
	}
	return checkSchema("output_config.format.schema", format.Schema)
}

// outputSchema gives the JSON schema that the answer must fit, nil when it is
// free.
func (x *exchange) outputSchema() []byte {
	var format struct {
		Schema jsontext.Value `json:"schema"`
	}
	if x.req.format.empty() || json.Unmarshal(x.req.format.of(x.body), &format) != nil {
		return nil
	}
	return format.Schema
}

// checkStrict holds the schemas of strict tools to the same rules.
func (x *exchange) checkStrict() *fault {
	for i, t := range x.req.tools {
		if !t.strict || t.schema.empty() {
			continue
		}
		if f := checkSchema(fmt.Sprintf("tools.%d.custom", i), t.schema.of(x.body)); f != nil {
			return f
		}
	}
	return nil
}

// checkSchema refuses what the API can't hold an answer to
// (platform.claude.com/docs, "Structured outputs", JSON Schema limitations).
func checkSchema(field string, schema []byte) *fault {
	var root map[string]any
	if err := json.Unmarshal(schema, &root); err != nil {
		return invalid("%s: Input should be a valid JSON schema", field)
	}
	c := schemaCheck{generator: generator{root: root}, field: field, left: maxSchemas}
	return c.walk(root, nil)
}

// maxSchemas bounds how many schemas, each reference followed, are in one.
const maxSchemas = 10_000

type schemaCheck struct {
	generator
	field string
	left  int // of maxSchemas
}

// unsupported are the keywords that the API refuses, by type.
func unsupported(kind string) []string {
	switch kind {
	case "integer", "number":
		return []string{"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"}
	case "string":
		return []string{"maxLength", "minLength"}
	case "array":
		return []string{"maxItems", "uniqueItems"}
	}
	return nil
}

// walk checks a schema and all below it; within are the references that it stands
// in.
func (c *schemaCheck) walk(schema map[string]any, within []string) *fault {
	if c.left--; c.left < 0 {
		return invalid("%s: Schema is too complex for compilation.", c.field)
	}
	if ref, ok := schema["$ref"].(string); ok {
		if slices.Contains(within, ref) {
			return invalid("%s: Recursive schemas are not supported", c.field)
		}
		to := c.resolve(ref)
		if to == nil {
			return invalid("%s: Reference '%s' can't be resolved", c.field, ref)
		}
		return c.walk(to, append(slices.Clip(within), ref))
	}
	kind := typeOf(schema)
	if open, given := schema["additionalProperties"].(bool); kind == "object" && (open || !given) {
		return invalid("%s: For 'object' type, 'additionalProperties' must be explicitly set to false", c.field)
	}
	var found []string
	for _, name := range unsupported(kind) {
		if _, ok := schema[name]; ok {
			found = append(found, name)
		}
	}
	if len(found) > 0 {
		return invalid("%s: For '%s' type, properties %s are not supported", c.field, kind, strings.Join(found, ", "))
	}
	if n, ok := schema["minItems"].(float64); ok && n > 1 {
		return invalid("%s: For 'array' type, 'minItems' values other than 0 or 1 are not supported", c.field)
	}
	for _, below := range children(schema) {
		if f := c.walk(below, within); f != nil {
			return f
		}
	}
	return nil
}

// children are the schemas inside a schema, those behind references left out.
func children(schema map[string]any) []map[string]any {
	var list []map[string]any
	add := func(v any) {
		if s, ok := v.(map[string]any); ok {
			list = append(list, s)
		}
	}
	add(schema["items"])
	if properties, ok := schema["properties"].(map[string]any); ok {
		for _, p := range properties {
			add(p)
		}
	}
	for _, key := range []string{"anyOf", "oneOf", "allOf"} {
		if all, ok := schema[key].([]any); ok {
			for _, s := range all {
				add(s)
			}
		}
	}
	return list
}
