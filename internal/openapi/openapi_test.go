package openapi

import (
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

func sample() []Operation {
	leaf := &Schema{Name: "Leaf", Type: Object, Properties: []Property{{Name: "size", Schema: &Schema{Type: Integer, Minimum: 1, Default: 3}, Required: true}}}
	return []Operation{
		{
			Method: "POST", Path: "/v1/trees", ID: "plant", Tag: "trees", Summary: "Plant a tree",
			Request: &Schema{Name: "Tree", Type: Object, Properties: []Property{
				{Name: "leaves", Schema: &Schema{Type: Array, Items: leaf, MaxItems: 4}},
				{Name: "kind", Schema: &Schema{AnyOf: []*Schema{{Type: String, Enum: []string{"oak", "elm"}}, leaf}}},
			}},
			Responses: []Response{
				{Status: 200, Description: "the tree", Schema: leaf},
				{Status: 200, ContentType: EventStream},
				{Status: 404, Headers: []Header{{"Retry-After", "Seconds."}}},
			},
		},
		{
			Method: "GET", Path: "/health/{part}", ID: "health", Tag: "service", Public: true,
			Parameters: []Parameter{{Name: "part", In: "path", Schema: &Schema{Type: String}}},
			Responses:  []Response{{Status: 200}},
		},
	}
}

func TestWrite(t *testing.T) {
	body, err := Write(Info{Title: "Trees", Version: "1"}, sample())
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
	plant := doc.Paths.Value("/v1/trees").Post
	answer := plant.Responses.Status(200).Value
	if len(answer.Content) != 2 || answer.Content.Get(JSON).Schema.Ref != "#/components/schemas/Leaf" {
		t.Errorf("the answer's content is %+v", answer.Content)
	}
	if headers := plant.Responses.Status(404).Value.Headers; len(headers) != 1 || headers["Retry-After"].Value.Description != "Seconds." || len(answer.Headers) != 0 {
		t.Errorf("the headers are %+v and %+v", headers, answer.Headers)
	}
	tree := doc.Components.Schemas["Tree"].Value
	if leaves := tree.Properties["leaves"].Value; leaves.Items.Ref != "#/components/schemas/Leaf" || *leaves.MaxItems != 4 {
		t.Errorf("leaves are %+v", leaves)
	}
	if required := doc.Components.Schemas["Leaf"].Value.Required; len(required) != 1 || required[0] != "size" {
		t.Errorf("a leaf requires %v", required)
	}
	health := doc.Paths.Value("/health/{part}").Get
	if health.Security == nil || len(*health.Security) != 0 || plant.Security != nil {
		t.Error("the wrong endpoints need a key")
	}
}

func TestWriteRefuses(t *testing.T) {
	twice := append(sample(), sample()[0])
	if _, err := Write(Info{}, twice); err == nil || !strings.Contains(err.Error(), "POST /v1/trees comes twice") {
		t.Errorf("an operation that comes twice: %v", err)
	}
	other := sample()
	other[1].Responses[0].Schema = &Schema{Name: "Leaf", Type: String}
	if _, err := Write(Info{}, other); err == nil || !strings.Contains(err.Error(), "Leaf") {
		t.Errorf("two schemas of one name: %v", err)
	}
}
