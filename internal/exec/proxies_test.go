// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec_test

import (
	"net/http"
	"net/http/httptest"
	osexec "os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/exec"
)

// askInPython has a client of Python ask the service that the credentials file names, as Google's library does.
func askInPython(client string) []string {
	const common = `import json, os, urllib.parse, urllib.request
f = json.load(open(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]))
form = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "audience": f["audience"],
  "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
  "subject_token_type": f["subject_token_type"],
  "subject_token": open(f["credential_source"]["file"]).read()}
`
	return []string{"python3", "-c", common + client}
}

// TestGoogle_NoProxyStandsBetween names a proxy in every way, and asks with clients that read the lists of what is
// excepted in different orders.
func TestGoogle_NoProxyStandsBetween(t *testing.T) {
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer proxy.Close()
	clients := map[string][]string{
		"Go": {exec.ContainerProgram, "play-google"},
		"curl": {"sh", "-c", `u=$(sed 's/.*"token_url": *"\([^"]*\)".*/\1/' <$GOOGLE_APPLICATION_CREDENTIALS | tr -d '\n')
			curl -sS -o /dev/null -d a=b "$u" && echo reached`},
		"Python's urllib": askInPython(`data = urllib.parse.urlencode(form).encode()
print(json.load(urllib.request.urlopen(f["token_url"], data))["access_token"])`),
		"Python's requests": askInPython(`import requests
print(requests.post(f["token_url"], data=form).json()["access_token"])`),
	}
	for name, client := range clients {
		probe := osexec.CommandContext(t.Context(), "python3", "-c", "import requests")
		if strings.HasPrefix(name, "Python") && probe.Run() != nil {
			t.Logf("%s is not on this machine", name)
			continue
		}
		for _, lists := range [][]string{nil, {"NO_PROXY=internal.example"}, {"no_proxy=internal.example"},
			{"NO_PROXY=a.example", "no_proxy=b.example"}, {"NO_PROXY=*"}, {"No_Proxy=c.example"}} {
			c := delivered(t)
			c.forGoogle("ya29.granted", time.Now().Add(time.Hour))
			for _, variable := range []string{
				"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
				c.environment = append(c.environment, variable+"="+proxy.URL)
			}
			c.environment = append(c.environment, lists...)
			code, stdout, stderr := c.runs(client...)
			if code != 0 || stdout != "[redacted]" && stdout != "reached" || asked.Load() != 0 {
				t.Errorf("%s, %v: %d: %s %s; the proxy was asked %d times", name, lists, code, stdout, stderr, asked.Swap(0))
			}
		}
	}
}

// TestGoogle_ListsOfWhatIsExceptedStay looks at what the command finds.
func TestGoogle_ListsOfWhatIsExceptedStay(t *testing.T) {
	for _, test := range []struct {
		own  []string
		want string
	}{
		{nil, "NO_PROXY=127.0.0.1\nno_proxy=127.0.0.1"},
		{[]string{"NO_PROXY="}, "NO_PROXY=127.0.0.1\nno_proxy=127.0.0.1"},
		{[]string{"NO_PROXY=a, b"}, "NO_PROXY=a, b,127.0.0.1\nno_proxy=a, b,127.0.0.1"},
		{[]string{"no_proxy=a"}, "NO_PROXY=a,127.0.0.1\nno_proxy=a,127.0.0.1"},
		{[]string{"no_proxy=a", "NO_PROXY=b"}, "NO_PROXY=b,127.0.0.1\nno_proxy=a,127.0.0.1"},
		{[]string{"no_proxy=*"}, "NO_PROXY=*\nno_proxy=*"},
		{[]string{"no_grpc_proxy=a"}, "NO_PROXY=127.0.0.1\nno_grpc_proxy=a,127.0.0.1\nno_proxy=127.0.0.1"},
		{[]string{"npm_config_no_proxy=a", "npm_config_noproxy=b", "No_Proxy=c"},
			"NO_PROXY=127.0.0.1\nNo_Proxy=c,127.0.0.1\nno_proxy=127.0.0.1\n" +
				"npm_config_no_proxy=a,127.0.0.1\nnpm_config_noproxy=b,127.0.0.1"},
	} {
		c := delivered(t)
		c.forGoogle("ya29.granted", time.Now().Add(time.Hour))
		c.environment = append([]string{"PATH=/usr/bin:/bin"}, test.own...)
		if _, stdout, stderr := c.runs("sh", "-c", "env | grep -i ^n.*proxy | LC_ALL=C sort"); stdout != test.want {
			t.Errorf("%v:\n%s %s; want\n%s", test.own, stdout, stderr, test.want)
		}
	}
	c := delivered(t)
	c.environment = []string{"PATH=/usr/bin:/bin"}
	if _, stdout, _ := c.runs("sh", "-c", "env | grep -i proxy"); stdout != "" {
		t.Errorf("where nothing of Google's was granted: %s", stdout)
	}
}
