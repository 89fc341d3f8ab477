package protocoltest

import (
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/openapi"
)

// Document writes the OpenAPI document of a protocol's operations and reads it
// back. Components that aren't shared must begin with one of the prefixes, so that
// those of two protocols can't meet.
func Document(t testing.TB, operations []openapi.Operation, prefixes ...string) *openapi3.T {
	t.Helper()
	body, err := openapi.Write(openapi.Info{Title: "x", Version: "1"}, operations)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(body)
	if err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	for name := range doc.Components.Schemas {
		ok := name == "OpenAIError" || name == "ErrorDetail"
		for _, prefix := range prefixes {
			ok = ok || strings.HasPrefix(name, prefix)
		}
		if !ok {
			t.Errorf("the component %s begins with none of %q", name, prefixes)
		}
	}
	return doc
}

// Fits says what a JSON value breaks of a schema, nil for nothing.
func Fits(t testing.TB, schema *openapi3.SchemaRef, value string) error {
	t.Helper()
	var decoded any
	if err := json.Unmarshal([]byte(value), &decoded); err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	return schema.Value.VisitJSON(decoded)
}
