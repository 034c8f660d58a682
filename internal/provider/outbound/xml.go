// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// listed is what AWS calls each element of a list. Source:
// https://smithy.io/2.0/aws/protocols/aws-query-protocol.html, on XML shape serialization.
const listed = "member"

// deepest is how many elements stand in one another at the most: AWS's answers have five.
const deepest = 16

// element is one of XML that is being read, or the document itself.
type element struct {
	// seen are the names of the elements in it.
	seen map[string]bool
	// text reports whether it holds text, and spoke whether the last that was read of it was text, or space.
	text, spoke bool
	// document reports whether it is the document itself, which holds one element and nothing else.
	document bool
}

// problemOfXML reads a document. Libraries differ in what they make of comments, of instructions, of text in several
// pieces or beside elements, and of what stands outside of the one element: no answer of AWS has any of it.
func problemOfXML(d *xml.Decoder) string {
	open := []*element{{seen: map[string]bool{}, document: true}}
	for first := true; ; first = false {
		token, err := d.Token()
		innermost, why := open[len(open)-1], ""
		switch t := token.(type) {
		case xml.StartElement:
			if len(open) > deepest {
				return tooDeep
			}
			why = innermost.begin(t)
			open = append(open, &element{seen: map[string]bool{}})
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			why = innermost.speak(t)
		case nil:
			if errors.Is(err, io.EOF) && len(innermost.seen) > 0 {
				return ""
			}
			return XML.broken()
		default:
			if head, is := token.(xml.ProcInst); !is || !first || head.Target != "xml" {
				why = twoWays
			}
		}
		if why != "" {
			return why
		}
	}
}

// begin takes in an element within this one.
func (e *element) begin(t xml.StartElement) string {
	name, isList := folded(t.Name.Local), e.seen[folded(listed)]
	switch {
	case e.text, e.document && len(e.seen) > 0:
		return twoWays
	case strings.EqualFold(name, listed):
		if len(e.seen) > 0 && !isList {
			return twoWays
		}
	case isList:
		return twoWays
	case e.seen[name]:
		return twice
	}
	attributes := map[xml.Name]bool{}
	for _, a := range t.Attr {
		key := xml.Name{Space: a.Name.Space, Local: folded(a.Name.Local)}
		if attributes[key] {
			return twice
		}
		attributes[key] = true
	}
	e.seen[name], e.spoke = true, false
	return ""
}

// speak takes in a piece of text within this element.
func (e *element) speak(text []byte) string {
	if e.spoke {
		return twoWays
	}
	e.spoke = true
	if len(bytes.Trim(text, " \t\r\n")) == 0 {
		return ""
	}
	e.text = true
	switch {
	case len(e.seen) > 0:
		return twoWays
	case e.document:
		return XML.broken()
	}
	return ""
}
