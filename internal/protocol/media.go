package protocol

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// unescaped gives a JSON string without escapes in it where its text needs none.
// Some encoders escape every slash.
func unescaped(quoted jsontext.Value) jsontext.Value {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted
	}
	quoted, _ = jsontext.AppendQuote(nil, Unquote(quoted))
	return quoted
}

// AppendImage appends an image block for a data: or https: URL, a JSON string.
// The latter is for the upstream to fetch; the service never does. A problem is
// what the URL must be; nothing is appended then.
func AppendImage(dst []byte, url, cacheControl jsontext.Value) (block []byte, problem string) {
	quoted := unescaped(url)
	inner := Inner(quoted)
	if bytes.HasPrefix(inner, []byte("https://")) {
		dst = append(dst, `{"type":"image","source":{"type":"url","url":`...)
		return endBlock(append(append(dst, quoted...), '}'), cacheControl), ""
	}
	if !bytes.HasPrefix(inner, []byte("data:")) {
		return dst, "must be a data: or https: URL"
	}
	mediaType, data, ok := cutData(inner)
	if !ok {
		return dst, "a data: URL must be base64"
	}
	switch mediaType {
	case "image/jpg":
		mediaType = "image/jpeg" // not a registered type, and common all the same
	case "image/jpeg", "image/png", "image/gif", "image/webp":
	default:
		return dst, "must be an image of the type jpeg, png, gif or webp"
	}
	dst = append(append(dst, `{"type":"image","source":{"type":"base64","media_type":"`...), mediaType...)
	dst = append(append(append(dst, `","data":"`...), data...), `"}`...)
	return endBlock(dst, cacheControl), ""
}

// cutData cuts a data: URL (RFC 2397) in base64 into its media type and its data.
func cutData(url []byte) (mediaType string, data []byte, ok bool) {
	head, data, _ := bytes.Cut(bytes.TrimPrefix(url, []byte("data:")), []byte(","))
	mediaType, ok = strings.CutSuffix(string(head), ";base64")
	mediaType, _, _ = strings.Cut(mediaType, ";") // parameters: name=, charset=
	return strings.ToLower(mediaType), data, ok
}

// pdfStart is how a PDF begins ("%PDF-") in base64.
const pdfStart = "JVBERi"

// AppendPDF appends a document block for a PDF, a JSON string: a data: URL, or
// plain base64. The title is a JSON string too, nil for none. A problem is what
// the data must be; nothing is appended then.
func AppendPDF(dst []byte, data, title, cacheControl jsontext.Value) (block []byte, problem string) {
	inner := Inner(unescaped(data))
	if bytes.HasPrefix(inner, []byte("data:")) {
		mediaType, rest, ok := cutData(inner)
		if !ok || mediaType != "application/pdf" {
			return dst, "must be a PDF in base64"
		}
		inner = rest
	} else if !bytes.HasPrefix(inner, []byte(pdfStart)) {
		return dst, "must be a PDF in base64"
	}
	dst = append(dst, `{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"`...)
	dst = append(append(dst, inner...), `"}`...)
	return endDocument(dst, title, cacheControl), ""
}

// AppendPDFURL is AppendPDF for an https: URL, a JSON string, which the upstream
// fetches.
func AppendPDFURL(dst []byte, url, title, cacheControl jsontext.Value) (block []byte, problem string) {
	url = unescaped(url)
	if !bytes.HasPrefix(Inner(url), []byte("https://")) {
		return dst, "must be an https: URL"
	}
	dst = append(append(append(dst, `{"type":"document","source":{"type":"url","url":`...), url...), '}')
	return endDocument(dst, title, cacheControl), ""
}

func endDocument(dst []byte, title, cacheControl jsontext.Value) []byte {
	if len(Inner(title)) > 0 {
		dst = append(append(dst, `,"title":`...), title...)
	}
	return endBlock(dst, cacheControl)
}
