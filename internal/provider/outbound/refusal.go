// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
)

// Errors says how a server writes its errors.
type Errors struct {
	// Fields are all that an error has: the members of its object or, in XML, the paths of its elements, as in
	// ErrorResponse/Error/Code.
	Fields []string
	// Is reports whether a text that has no other fields is an error of the server's.
	Is func(text []byte) bool
}

// holdsMore reports whether a text, which can be read, holds something beside these fields. Members that are empty, as
// "lease_id": "", hold nothing.
func (f Form) holdsMore(text []byte, fields []string) bool {
	switch f {
	case JSON:
		members, is := membersOf(text)
		for name, value := range members {
			if !slices.Contains(fields, name) && !isNothing(value) {
				return true
			}
		}
		return !is && !isNothing(text)
	case XML:
		return anyOf(pathsOf(text), func(path string) bool { return !slices.Contains(fields, path) })
	default:
		return false
	}
}

// saysError reports whether a text, which can be read, has an error where servers write one.
func (f Form) saysError(text []byte) bool {
	switch f {
	case JSON:
		members, _ := membersOf(text)
		for name, value := range members {
			if (strings.EqualFold(name, "error") || strings.EqualFold(name, "errors")) && !isNothing(value) {
				return true
			}
		}
		return false
	case XML:
		return anyOf(pathsOf(text), func(path string) bool {
			root, rest, _ := strings.Cut(path, "/")
			return root == "ErrorResponse" || root == "Error" || rest == "Error"
		})
	default:
		return false
	}
}

// membersOf are the members of an object; false if a text is none.
func membersOf(text []byte) (members map[string]json.RawMessage, is bool) {
	return members, json.Unmarshal(text, &members) == nil && members != nil
}

// isNothing reports whether a value of JSON is one that says nothing, or is not there.
func isNothing(value []byte) bool {
	var short bytes.Buffer
	return json.Compact(&short, value) != nil || slices.Contains([]string{"null", `""`, "0", "false", "[]", "{}"}, short.String())
}

// deepest is how deep the elements of a server's documents are nested, with room to spare.
const deepest = 32

// pathsOf goes through the paths of all elements of a document. An attribute that is no namespace counts as one, and what is nested deeper than
// deepest has the path that it has there: nothing is known by it.
func pathsOf(text []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		var open []string
		for d, depth := xml.NewDecoder(bytes.NewReader(text)), 0; ; {
			token, err := d.Token()
			if err != nil {
				return
			}
			switch t := token.(type) {
			case xml.StartElement:
				if depth++; depth > deepest {
					if depth == deepest+1 && !yield(strings.Join(open, "/")+"/…") {
						return
					}
					continue
				}
				open = append(open, t.Name.Local)
				path := strings.Join(open, "/")
				if !yield(path) {
					return
				}
				for _, a := range t.Attr {
					if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" && !yield(path+"/@"+a.Name.Local) {
						return
					}
				}
			case xml.EndElement:
				if depth--; depth < deepest {
					open = open[:depth]
				}
			}
		}
	}
}

func anyOf(paths iter.Seq[string], is func(string) bool) bool {
	for path := range paths {
		if is(path) {
			return true
		}
	}
	return false
}

// refusing are the statuses by which servers refuse a request before they issue anything. Those that stand for a lost
// race or for too little time (408, 409, 425), and all of a server that failed, are not among them: something can have
// been issued before.
var refusing = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
	http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity,
	http.StatusTooManyRequests}

// Refuses reports whether an answer proves that the server issued nothing. Its status has to be one by which servers
// refuse a request before they issue anything, and its body an error of the server's own and nothing beside, as inForm
// reports: see [Errors]. A load balancer, a proxy or a gateway can answer everything else after the server has issued,
// or answer an empty body or a page of its own with any status.
func Refuses(status int, inForm bool) bool { return inForm && slices.Contains(refusing, status) }

// Unproven says of an answer that failed, and that [Refuses] does not take for a refusal, what to look at. No word of
// the answer is repeated.
func Unproven(server string, status int, inForm bool) string {
	if inForm {
		return fmt.Sprintf("%s failed: status %d", server, status)
	}
	return fmt.Sprintf("status %d was answered, and not in the form of %s's errors, so it is not known what %s did; "+
		"see what stands between the operator and %s", status, server, server, server)
}
