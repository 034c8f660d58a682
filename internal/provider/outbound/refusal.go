// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Errors says how a server writes its errors.
type Errors struct {
	// Fields are the paths of all that an error has, as in error/details/reason: the members of its object and of those
	// within, where a list is no part of a path, or in XML its elements. A path that ends in /* is of members of any
	// name.
	Fields []string
	// Text reports whether a text in a field, or a member's name, is one of an error's: see [Plain]. Nil takes any, of a
	// server that issues nothing.
	Text func(text string) bool
	// Is reports whether a text that has no other fields is an error of the server's.
	Is func(text []byte) bool
}

// HoldsMore reports whether a success, which can be read, holds something beside the fields that are known of such an
// answer, or a text in them that isText does not take. It is read as a failure is: see [Errors].
func (f Form) HoldsMore(success []byte, isText func(text string) bool, fields ...string) bool {
	return f.holdsMore(success, Errors{Fields: fields, Text: isText})
}

// holdsMore reports whether a text, which can be read, holds something beside an error's fields, or something in them
// that could be a credential. Members that are empty, as "lease_id": "", hold nothing.
func (f Form) holdsMore(text []byte, own Errors) bool {
	switch f {
	case JSON:
		_, is := membersOf(text)
		return !isNothing(text) && (!is || own.isLess("", text))
	case XML:
		other := func(path []string) bool { return !slices.Contains(own.Fields, strings.Join(path, "/")) }
		return hasElement(text, other) || !own.isText(textOf(text))
	default:
		return false
	}
}

func (own Errors) isText(text string) bool { return own.Text == nil || own.Text(text) }

// isLess reports whether an error has less than a value of JSON at a path. What no field lies below is not looked into,
// so that a deep answer costs no more than a flat one.
func (own Errors) isLess(path string, value json.RawMessage) bool {
	members, isObject := membersOf(value)
	var elements []json.RawMessage
	switch {
	case isNothing(value):
		return false
	case isObject:
		return own.lacks(path, members)
	case json.Unmarshal(value, &elements) == nil:
		return slices.ContainsFunc(elements, func(one json.RawMessage) bool {
			return bytes.HasPrefix(one, []byte("[")) || own.isLess(path, one)
		})
	}
	within, text := path[:strings.LastIndex(path, "/")+1]+"*", ""
	isText := json.Unmarshal(value, &text) == nil
	return isText && !own.isText(text) || !slices.Contains(own.Fields, path) && !slices.Contains(own.Fields, within)
}

// lacks reports whether an error has less than an object with these members.
func (own Errors) lacks(path string, members map[string]json.RawMessage) bool {
	if path != "" {
		path += "/"
	}
	if !slices.ContainsFunc(own.Fields, func(field string) bool { return strings.HasPrefix(field, path) }) {
		return true
	}
	for name, member := range members {
		if !own.isText(name) || own.isLess(path+name, member) {
			return true
		}
	}
	return false
}

// wordForm is a run of letters and digits.
var wordForm = regexp.MustCompile(`[\pL\pN]+`)

const (
	// longestName is more than the longest name of a setting or an action, which is of letters alone.
	longestName = 64
	// longestNumber is that of a number, and of an ID that has digits and letters of either case, such as a role's.
	longestNumber = 22
	// longestHash is that of an ID whose letters are of one case.
	longestHash = 32
)

// Plain reports whether a text is one of words, names, numbers and IDs. No token of a back end's is: it has a longer run
// of letters and digits, of both cases.
func Plain(text string) bool {
	return !slices.ContainsFunc(wordForm.FindAllString(text, -1), func(word string) bool {
		most := longestNumber
		switch {
		case !strings.ContainsFunc(word, unicode.IsNumber):
			most = longestName
		case word == strings.ToLower(word), word == strings.ToUpper(word):
			most = longestHash
		}
		return len(word) > most
	})
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
		return hasElement(text, func(path []string) bool {
			return path[0] == "ErrorResponse" || path[0] == "Error" || len(path) == 2 && path[1] == "Error"
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

// hasElement reports whether a document has an element, or an attribute that is no namespace, of which is holds. It is told
// the names of the elements around it, its own, and of an attribute that behind an @. None is looked at after that.
func hasElement(text []byte, is func(path []string) bool) bool {
	var open []string
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err != nil {
			return false
		}
		switch t := token.(type) {
		case xml.StartElement:
			open = append(open, t.Name.Local)
			if is(open) {
				return true
			}
			for _, a := range t.Attr {
				if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" && is(append(slices.Clone(open), "@"+a.Name.Local)) {
					return true
				}
			}
		case xml.EndElement:
			open = open[:len(open)-1]
		}
	}
}

// textOf is all text of a document, of each element and attribute apart.
func textOf(text []byte) string {
	var all strings.Builder
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err != nil {
			return all.String()
		}
		switch t := token.(type) {
		case xml.CharData:
			all.WriteString(string(t) + "\n")
		case xml.StartElement:
			for _, a := range t.Attr {
				all.WriteString(a.Value + "\n")
			}
		}
	}
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
