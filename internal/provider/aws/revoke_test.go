// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/valetkey/valetkey/internal/provider"
)

// TestIAMFailure_Throttles: IAM asks to be left alone by a code with status 400.
func TestIAMFailure_Throttles(t *testing.T) {
	for code, want := range map[string]bool{"Throttling": true, "ThrottlingException": true, "AccessDenied": false} {
		err := iamFailure(actionPut, &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: http.StatusBadRequest}}, Err: &smithy.GenericAPIError{Code: code}}})
		if provider.IsThrottled(err) != want {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// TestIAMFailure_SaysWhyNothingWasSent: who revokes has to know which flag is missing.
func TestIAMFailure_SaysWhyNothingWasSent(t *testing.T) {
	err := iamFailure(actionPut, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}})
	const want = "the certificate of IAM is not one that the operator trusts (caBundle, --ca-file); nothing was sent"
	if !provider.IsRetryable(err) || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
