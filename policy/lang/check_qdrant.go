package lang

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-io/holdfast/policy"
)

// checkQdrant wants the nodes of one cluster, and a way to them that keeps the key secret.
func (b *builder) checkQdrant(o *object) {
	nodes := b.checkNodes(o)
	b.checkGRPC(o)
	b.checkTransport(o, nodes)
	b.checkGlobs(o, "collections", false)
	b.checkRepeated(o, "collections")
	switch {
	case o.known("snapshots_path") && !filepath.IsAbs(o.text("snapshots_path")):
		b.error(o.at("snapshots_path"), "bad_value", "snapshots_path is not an absolute path", "Write where this host finds the server's folder of snapshots, such as /var/lib/qdrant/snapshots.")
	case o.known("snapshots_path") && len(nodes) > 1:
		b.warn(o.at("snapshots_path"), "not_used", "snapshots_path of several nodes", "It is the folder of one node, so it is not used here: archives go over the network. Remove it.")
	}
}

// checkNodes checks urls and returns those that are good.
func (b *builder) checkNodes(o *object) []*url.URL {
	if o.known("urls") && o.values["urls"].LengthInt() == 0 {
		b.error(o.at("urls"), "bad_url", "No urls", "Give the base URL of every node, such as http://10.0.0.5:6333.")
	}
	var nodes []*url.URL
	seen := map[string]bool{}
	for i, text := range o.texts("urls") {
		at := o.atElement("urls", i)
		u := b.checkNode(at, text)
		if u == nil {
			continue
		}
		if key := u.Scheme + "://" + strings.ToLower(u.Host); seen[key] {
			b.error(at, "bad_url", fmt.Sprintf("%s stands in urls twice", quoteShort(text)), "Each node of the cluster has one URL. Remove one of the two.")
		} else {
			seen[key] = true
		}
		nodes = append(nodes, u)
	}
	return nodes
}

// checkNode checks the REST base URL of a node. It returns nil for a bad one.
func (b *builder) checkNode(at place, text string) *url.URL {
	bad := func(summary, detail string) *url.URL {
		b.error(at, "bad_url", summary, detail)
		return nil
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if text == "" {
		return nil // told of as an empty element
	} else if !ok || scheme != "http" && scheme != "https" {
		if !ok {
			rest = text
		}
		return bad(fmt.Sprintf("%s is not an http or https URL", quoteShort(text)), fmt.Sprintf("Write the base URL of a node: %s.", quoteShort("http://"+rest)))
	}
	u, err := url.Parse(text)
	if err != nil {
		return bad(fmt.Sprintf("%s is not a URL", quoteShort(text)), "Write the base URL of a node, such as http://10.0.0.5:6333.")
	}
	base := u.Scheme + "://" + u.Host
	port, portErr := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.User != nil:
		b.config.secrets.add(u.User.Username())
		password, _ := u.User.Password()
		b.config.secrets.add(password)
		b.config.report.errorHidden(at, "literal_secret", "urls holds credentials", "The URLs are shown and stored. Give the key by api_key = env(\"QDRANT_API_KEY\").")
		return nil
	case u.Hostname() == "":
		return bad(fmt.Sprintf("%s names no host", quoteShort(text)), "Write the base URL of a node, such as http://10.0.0.5:6333.")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return bad(fmt.Sprintf("%s is more than a base URL", quoteShort(text)), fmt.Sprintf("Write %s.", base))
	case u.Port() != "" && (portErr != nil || port == 0):
		return bad(fmt.Sprintf("%s has no port that exists", quoteShort(text)), "Ports go from 1 to 65535; Qdrant listens on 6333.")
	case u.Port() == "" && u.Scheme == "http":
		b.warn(at, "no_port", fmt.Sprintf("%s has no port", quoteShort(text)), fmt.Sprintf("It means port 80, and Qdrant listens on 6333. Write %s:6333, or %s:80.", base, base))
	}
	return u
}

// checkGRPC wants one address for each node.
func (b *builder) checkGRPC(o *object) {
	if !o.known("grpc") || !o.known("urls") {
		return
	}
	if grpc, urls := o.values["grpc"].LengthInt(), o.values["urls"].LengthInt(); grpc != urls {
		b.error(o.at("grpc"), "grpc", "grpc and urls do not match", fmt.Sprintf("There is %s and %s. Give one address for each URL, in the same order.", count(grpc, "gRPC address"), count(urls, "URL")))
	}
	for i, text := range o.texts("grpc") {
		host, portText, err := net.SplitHostPort(text)
		if port, portErr := strconv.ParseUint(portText, 10, 16); text != "" && (err != nil || portErr != nil || host == "" || port == 0) {
			b.error(o.atElement("grpc", i), "grpc", fmt.Sprintf("%s is not host:port", quoteShort(text)), "Write for example \"10.0.0.5:6334\", without a scheme.")
		}
	}
}

// checkTransport looks at how the nodes are spoken to.
func (b *builder) checkTransport(o *object, nodes []*url.URL) {
	var secure, clear, abroad []string
	for _, u := range nodes {
		switch {
		case u.Scheme == "https":
			secure = append(secure, u.String())
			continue
		case !loopback(u.Hostname()):
			abroad = append(abroad, u.String())
		}
		clear = append(clear, u.String())
	}
	if len(secure) > 0 && len(clear) > 0 {
		b.error(o.at("urls"), "bad_url", "http and https are mixed", fmt.Sprintf("The nodes of a cluster are configured alike: %s is encrypted, and %s is not.", secure[0], clear[0]))
	}
	for _, name := range []string{"api_key", "restore_api_key"} {
		if len(abroad) > 0 && o.node.attrs[name] != nil && !o.absent(name) {
			b.warn(o.at(name), "key_in_clear", "The key crosses the network in clear", fmt.Sprintf("%s is not encrypted: whoever sees the traffic has the key. Use https://, or a tunnel to a loopback address.", abroad[0]))
			break
		}
	}
	t := o.block("tls")
	if t == nil {
		return
	}
	if len(secure) == 0 && len(clear) > 0 {
		b.error(place{rng: t.node.declared, node: t.node, address: o.address}, "tls", "tls without an https URL", "Nothing in urls is encrypted. Write https:// there, or remove the block.")
	}
	for _, pair := range [][2]string{{"cert_file", "key_file"}, {"key_file", "cert_file"}} {
		if !t.absent(pair[0]) && t.absent(pair[1]) && !t.node.flawed {
			b.error(t.at(pair[0]), "tls", fmt.Sprintf("%s without %s", pair[0], pair[1]), "A certificate is shown together with its key. Give both, or none.")
		}
	}
	if t.flag("insecure_skip_verify") {
		b.warn(t.at("insecure_skip_verify"), "insecure", "The server is not verified", "Whoever answers gets the key and delivers the data. Give ca_file, and server_name when the certificate has another name.")
	}
}

// loopback tells whether a host is this one.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback() || strings.EqualFold(host, "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost")
}

// checkRepeated finds the same element written twice.
func (b *builder) checkRepeated(o *object, name string) {
	texts := o.texts(name)
	for i, text := range texts {
		if text != "" && slices.Contains(texts[:i], text) {
			b.warn(o.atElement(name, i), "repeated", fmt.Sprintf("%s stands in %s twice", quoteShort(text), name), "Remove one of the two.")
		}
	}
}

// checkQdrantMethods looks into the blocks that say how a Qdrant server is read.
func (b *builder) checkQdrantMethods(o *object) {
	if s := o.block("snapshot"); s != nil && s.text("mode") == string(policy.SnapshotStream) && o.known("max_rate") {
		b.warn(s.at("mode"), "slow_stream", "A stream is read at max_rate", "The server keeps a shard's segments as they are for as long as its stream is read, and a slow reader makes that long. Use mode = \"snapshot\": the server makes a file first.")
	}
	if s := o.block("export"); s != nil && s.known("include_payload") && s.known("include_vectors") && !s.flag("include_payload") && !s.flag("include_vectors") {
		b.warn(s.at("include_vectors"), "only_ids", "Neither payloads nor vectors are kept", "A restore would bring back nothing but the ids of points. Leave one of the two out.")
	}
}

// checkClusters looks at sources together: two that name one node are of one cluster, and should know all of its nodes.
func (b *builder) checkClusters(objects []*object) {
	var all []*object
	var lists []policy.Source // one for each list of URLs
	seen := map[string]bool{}
	for _, o := range objects {
		src := b.set.Sources[o.address]
		if src.Qdrant == nil || !o.known("urls") || !o.values["urls"].IsWhollyKnown() {
			continue
		}
		all = append(all, o)
		if key := strings.Join(src.Qdrant.URLs, " "); !seen[key] {
			seen[key], lists = true, append(lists, src)
		}
	}
	for _, o := range all {
		mine := b.set.Sources[o.address].Qdrant
		for _, other := range lists {
			lacks := slices.DeleteFunc(slices.Clone(other.Qdrant.URLs), func(u string) bool { return slices.Contains(mine.URLs, u) })
			if len(lacks) > 0 && mine.SameServer(*other.Qdrant) {
				b.warn(o.at("urls"), "cluster", fmt.Sprintf("%s lacks a node that %s has", o.address, other.Address), fmt.Sprintf("The two share a node, so they are of one cluster; urls here lacks %s. What is there alone would not be backed up.", list(lacks)))
				break
			}
		}
	}
}
