// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build clients

package aws_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/provider"
)

// clients are programs that ask STS, at the endpoint of their last argument, who they are. They are those that
// `make test-clients` installs, where Debian and Node put them.
var clients = map[string][]string{
	"the command line": {"/usr/bin/aws", "sts", "get-caller-identity", "--endpoint-url"},
	"the SDK for Python": {"/usr/bin/python3", "-c", `
import boto3, sys
boto3.client("sts", endpoint_url=sys.argv[1]).get_caller_identity()`},
	"the SDK for JavaScript": {"node", "-e", `
const { STSClient, GetCallerIdentityCommand } = require("@aws-sdk/client-sts");
new STSClient({ endpoint: process.argv[1] }).send(new GetCallerIdentityCommand({}))
  .catch((e) => { console.error(e.name); process.exit(1); });`},
}

func TestCredential_IsWhatOtherClientsUse(t *testing.T) {
	asks(t, func(t *testing.T, c *provider.Credential, environment map[string]string) {
		for name, command := range clients {
			if used := callerOf(t, command, environment); used != c.ID() {
				t.Errorf("%s uses the key %q, and not the granted one", name, used)
			}
		}
	})
}

// callerOf is the ID of the key by which a command signs.
func callerOf(t *testing.T, command []string, environment map[string]string) string {
	t.Helper()
	var used string
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		used, _, _ = strings.Cut(scope, "/")
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprint(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`+
			`<Arn>arn:aws:iam::1:user/u</Arn><UserId>u</UserId><Account>1</Account></GetCallerIdentityResult>`+
			`<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetCallerIdentityResponse>`)
	}))
	defer sts.Close()
	program := exec.CommandContext(t.Context(), command[0], append(command[1:len(command):len(command)], sts.URL)...)
	program.Env = []string{"PATH=/usr/bin:/bin", "NODE_PATH=" + os.Getenv("NODE_PATH")}
	for key, value := range environment {
		program.Env = append(program.Env, key+"="+value)
	}
	if out, err := program.CombinedOutput(); err != nil {
		t.Logf("%s: %v, with %d bytes of output", command[0], err, len(out))
	}
	return used
}
