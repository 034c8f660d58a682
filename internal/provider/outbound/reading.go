// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Form is what a server writes its answers in.
type Form string

// The forms of the servers that are asked.
const (
	JSON Form = "JSON"
	XML  Form = "XML"
	// binary is a form that is read as it is.
	binary Form = "binary"
)

// What can be wrong with an answer, in words that stand behind "its answer".
const (
	tooLong  = "is longer than its answers are"
	cutShort = "was cut short"
	tooDeep  = "is nested deeper than its answers are"
	twice    = "says one thing twice"
	twoWays  = "can be read in more than one way"
	// saysError is of a success, and holdsMore of a failure.
	saysError = "says an error"
	holdsMore = "holds more than an error"
)

// unreadError says why nothing is read of an answer.
type unreadError struct {
	// status that was answered; zero for success.
	status int
	why    string
}

func (e *unreadError) Error() string { return "the answer " + e.why }

// Unread says of a failure that a server, which is called by its name, answered with success, or with more than an
// error, and why nothing of its answer is read. Whatever it gave, it gave all the same, and nobody knows until when that works. It is empty where
// that is not the failure. No word of the answer is repeated.
func Unread(server string, err error) string {
	unread := (*unreadError)(nil)
	if !errors.As(err, &unread) {
		return ""
	}
	status := "success"
	if unread.status != 0 {
		status = fmt.Sprintf("status %d", unread.status)
	}
	return fmt.Sprintf("%s answered with %s, and its answer %s: it is refused, and nothing of it is used; "+
		"see what stands between the operator and %s", server, status, unread.why, server)
}

// read takes in a body, and says why it is longer than a real one, not whole, or not to be read in one way alone.
func (f Form) read(from io.Reader) ([]byte, *unreadError) {
	body, err := io.ReadAll(io.LimitReader(from, answerSize+1))
	switch {
	case len(body) > answerSize:
		return body, &unreadError{why: tooLong}
	case err != nil:
		return body, &unreadError{why: cutShort}
	}
	if why := f.Problem(body); why != "" {
		return body, &unreadError{why: why}
	}
	return body, nil
}

// unreadable is the body of an answer of which nothing is read.
type unreadable struct{ why *unreadError }

func (u unreadable) Read([]byte) (int, error) { return 0, u.why }

func (unreadable) Close() error { return nil }

// Problem says why a text is not one of the form that can be read in one way alone: a check would look at one reading,
// and a library take the other. It is empty if the text can be, or holds nothing. Nothing may be said twice: names
// that differ by case alone are one, for some libraries take them so.
func (f Form) Problem(text []byte) string {
	if f == binary || len(bytes.Trim(text, " \t\r\n")) == 0 {
		return ""
	}
	if f == XML {
		return problemOfXML(xml.NewDecoder(bytes.NewReader(text)))
	}
	return problemOfJSON(text)
}

// broken says that a text is not of the form, or ends before it is one.
func (f Form) broken() string { return "cannot be read as " + string(f) + " to its end" }

// begins is how a text of the form begins that holds anything.
func (f Form) begins() []byte {
	if f == XML {
		return []byte("<")
	}
	return []byte("{")
}

// folded is the one spelling of all names that differ by case alone.
func folded(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}

func problemOfJSON(text []byte) string {
	d := json.NewDecoder(bytes.NewReader(text))
	first := json.RawMessage(nil)
	switch {
	case d.Decode(&first) != nil:
		return JSON.broken()
	case !json.Valid(text) && bytes.ContainsAny(first[:1], "{["):
		return twoWays // something stands behind it
	case !json.Valid(text):
		return JSON.broken()
	}
	switch once, err := readOnce(json.NewDecoder(bytes.NewReader(text))); {
	case err != nil:
		return JSON.broken()
	case !once:
		return twice
	}
	return ""
}

// readOnce reads a value, and reports whether all its objects have each member once.
func readOnce(d *json.Decoder) (once bool, err error) {
	token, err := d.Token()
	if err != nil {
		return false, err
	}
	seen := map[string]bool{}
	for token == json.Delim('{') && d.More() {
		name, err := d.Token()
		if err != nil {
			return false, err
		}
		text, _ := name.(string) // members have names
		key := folded(text)
		if once, err := readOnce(d); err != nil || !once || seen[key] {
			return false, err
		}
		seen[key] = true
	}
	for token == json.Delim('[') && d.More() {
		if once, err := readOnce(d); err != nil || !once {
			return false, err
		}
	}
	if token == json.Delim('{') || token == json.Delim('[') {
		_, err = d.Token() // its end
	}
	return err == nil, err
}
