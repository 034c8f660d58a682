// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// errTwoReadings is what an answer is that two readers could read in two ways: what a check looked at would not be what
// a library takes.
var errTwoReadings = errors.New("the answer says one thing twice")

// OneReading reports whether a text can be read in one way alone: no object of JSON has a member twice, and nothing
// stands behind the first one. What is no such object is for others to read.
func OneReading(text []byte) bool {
	var first json.RawMessage
	d := json.NewDecoder(bytes.NewReader(text))
	if !bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")) || d.Decode(&first) != nil {
		return true
	}
	once, err := readOnce(json.NewDecoder(bytes.NewReader(first)))
	if err != nil || !once {
		return false
	}
	_, err = d.Token()
	return errors.Is(err, io.EOF)
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
		key, _ := name.(string) // members have names
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
