// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"encoding/xml"
	"regexp"
	"strings"

	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// ownErrors are errors as AWS's query protocol writes them. Its SDK looks for an error's code in whatever stands around
// it, and would take a gateway's page, or what stands beside a credential, for AWS's own word that nothing was issued.
// Source: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html, on operation error serialization.
var ownErrors = outbound.Errors{
	Fields: []string{"ErrorResponse", "ErrorResponse/Error", "ErrorResponse/Error/Type", "ErrorResponse/Error/Code",
		"ErrorResponse/Error/Message", "ErrorResponse/Error/Detail", "ErrorResponse/RequestId"},
	Text: outbound.Plain,
	Is: func(text []byte) bool {
		var said struct {
			XMLName xml.Name `xml:"ErrorResponse"`
			Code    string   `xml:"Error>Code"`
			Request string   `xml:"RequestId"`
		}
		return xml.Unmarshal(text, &said) == nil && codeForm.MatchString(said.Code) && said.Request != ""
	},
}

// iamErrors are the same, of IAM, which names those roles in them.
func (h handle) iamErrors() outbound.Errors {
	roles := strings.NewReplacer(nameOf(h.Role), "", nameOf(h.Revoker), "")
	return outbound.Errors{Fields: ownErrors.Fields, Is: ownErrors.Is,
		Text: func(text string) bool { return outbound.Plain(roles.Replace(text)) }}
}

// nameOf is a role's name, of which its path is no part.
func nameOf(role string) string { return role[strings.LastIndex(role, "/")+1:] }

// codeForm is that of AWS's codes. Gateways write sentences in the same place.
var codeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.]*$`)
