package lang

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/holdfast-io/holdfast/policy"
)

// builder turns computed objects into policy values and checks what they mean. What is unknown or already wrong is left
// out of the checks, so that each mistake is told once.
type builder struct {
	eval   *evaluator
	config *config
	set    *policy.Set

	// What schedules are worth, each computed once: it costs up to milliseconds, and thousands of backups share one.
	gapsOf     map[policy.Schedule][2]policy.Duration
	ruleErrors map[policy.Schedule]error
}

func (b *builder) build() {
	b.gapsOf, b.ruleErrors = map[policy.Schedule][2]policy.Duration{}, map[policy.Schedule]error{}
	*b.set = policy.Set{
		Stores: map[string]policy.Store{}, Sources: map[string]policy.Source{},
		Retentions: map[string]policy.Retention{}, Backups: map[string]policy.Backup{},
	}
	if objects := b.eval.objects["holdfast"]; len(objects) > 0 {
		b.set.Settings = b.settings(objects[0])
	}
	objects := b.eval.allObjects()
	for _, o := range objects {
		switch o.schema.Type {
		case "store":
			b.set.Stores[o.address] = b.store(o)
		case "source":
			b.set.Sources[o.address] = b.source(o)
		case "retention":
			b.set.Retentions[o.address] = b.retention(o)
		}
	}
	for _, o := range objects { // after what they refer to
		if o.schema.Type == "backup" {
			b.set.Backups[o.address] = b.backup(o)
		}
	}
	b.checkStores(objects)
	b.checkClusters(objects)
	b.history()
	b.checkPhysicals(objects)
	b.houseRules()
}

func (b *builder) settings(o *object) policy.Settings {
	s := policy.Settings{RequiredVersion: o.text("required_version"), State: o.text("state"), Identity: o.text("identity")}
	b.checkVersion(o)
	b.checkURL(o, "state")
	return s
}

func (b *builder) store(o *object) policy.Store {
	s := policy.Store{
		Address: o.address, URL: o.text("url"), Versioning: o.flag("versioning"), ObjectLock: o.flag("object_lock"),
		Capacity: o.amount("capacity"), MaxRate: o.rate("max_rate"), PruneGrace: o.span("prune_grace"),
	}
	b.checkURL(o, "url")
	b.checkLimits(o, s)
	if s.PruneGrace == policy.DefaultPruneGrace {
		s.PruneGrace = 0 // written or not, it is the same store
	}
	if enc := o.block("encryption"); enc != nil {
		s.Encryption = policy.Encryption{None: enc.flag("none"), Recipients: enc.texts("recipients"), Writers: enc.texts("writers")}
		b.checkEncryption(enc)
	}
	return s
}

func (b *builder) source(o *object) policy.Source {
	s := policy.Source{Address: o.address, Kind: policy.SourceKind(o.schema.Kind)}
	switch s.Kind {
	case policy.KindPostgres:
		s.Postgres = &policy.PostgresSource{
			DSN: b.secret(o, "dsn"), Host: o.text("host"), Port: o.whole("port"), User: o.text("user"),
			Database: o.text("database"), SSLMode: o.text("sslmode"), Password: b.secret(o, "password"),
		}
		b.checkPostgres(o)
	case policy.KindFiles:
		s.Files = &policy.FilesSource{Root: o.text("root"), Include: o.texts("include"), Exclude: o.texts("exclude"), OneFileSystem: o.flag("one_file_system"), Base: b.config.dir}
		b.checkFiles(o)
	case policy.KindQdrant:
		s.Qdrant = b.qdrant(o)
	}
	return s
}

func (b *builder) qdrant(o *object) *policy.QdrantSource {
	q := &policy.QdrantSource{
		GRPC: o.texts("grpc"), APIKey: b.secret(o, "api_key"), RestoreAPIKey: b.secret(o, "restore_api_key"),
		Collections: o.texts("collections"), SnapshotsPath: o.text("snapshots_path"),
	}
	for _, u := range o.texts("urls") {
		q.URLs = append(q.URLs, strings.TrimSuffix(u, "/"))
	}
	if t := o.block("tls"); t != nil {
		q.TLS = &policy.TLSClient{
			CAFile: t.text("ca_file"), CertFile: t.text("cert_file"), KeyFile: t.text("key_file"), ServerName: t.text("server_name"),
			InsecureSkipVerify: t.flag("insecure_skip_verify"), Base: b.config.dir,
		}
	}
	b.checkQdrant(o)
	return q
}

func (b *builder) retention(o *object) policy.Retention {
	r := policy.Retention{
		Address: o.address, Last: o.whole("last"), Within: o.span("within"), Hourly: o.whole("hourly"), Daily: o.whole("daily"),
		Weekly: o.whole("weekly"), Monthly: o.whole("monthly"), Yearly: o.whole("yearly"),
		MinVerified: o.whole("min_verified"), MaxPrunePercent: o.whole("max_prune_percent"), Continuous: o.span("continuous"),
	}
	b.checkRetention(o, r)
	return r
}

func (b *builder) backup(o *object) policy.Backup {
	p := policy.Backup{
		Address: o.address, Source: o.reference("source"), Store: o.reference("store"), Copies: o.references("copies"), Retention: o.reference("retention"),
		MaxRate: o.rate("max_rate"), Compression: policy.Compression(o.text("compression")), Verify: policy.Verify{After: policy.VerifyStored},
	}
	if s := o.block("schedule"); s != nil {
		p.Schedule = &policy.Schedule{Cron: s.text("cron"), Every: s.span("every"), Timezone: s.text("timezone"), Jitter: s.span("jitter"), Paused: s.flag("paused")}
	}
	if s := o.block("objective"); s != nil {
		p.Objective = policy.Objective{RPO: s.span("rpo"), RTO: s.span("rto")}
	}
	if s := o.block("logical"); s != nil {
		p.Logical = &policy.Logical{Databases: s.texts("databases"), ExcludeDatabases: s.texts("exclude_databases"), Tables: s.texts("tables"), ExcludeTables: s.texts("exclude_tables")}
	}
	if s := o.block("physical"); s != nil {
		p.Physical, p.MaxRate = b.physical(s, o.address), max(p.MaxRate, s.rate("max_rate"))
	}
	if p.Impact = o.percent("impact"); p.Impact == policy.DefaultImpact {
		p.Impact = 0 // written or not, it is the same backup
	}
	if s := o.block("snapshot"); s != nil {
		p.Snapshot = &policy.Snapshot{Mode: policy.SnapshotMode(s.text("mode"))}
	}
	if s := o.block("export"); s != nil {
		p.Export = &policy.Export{IncludePayload: s.flag("include_payload"), IncludeVectors: s.flag("include_vectors"), Filter: s.text("filter"), Batch: s.whole("batch")}
	}
	if s := o.block("verify"); s != nil {
		p.Verify = b.verify(s, b.set.Sources[p.Source])
	}
	b.checkBackup(o, p)
	return p
}

// block returns an inner block that may stand once, or nil.
func (o *object) block(name string) *object {
	if list := o.blocks[name]; len(list) > 0 {
		return list[0]
	}
	return nil
}

// known tells whether an argument has a value that can be looked at.
func (o *object) known(name string) bool {
	v := o.values[name]
	return v != cty.NilVal && v.IsKnown() && !v.IsNull()
}

// absent tells whether an argument is certainly not given.
func (o *object) absent(name string) bool {
	v := o.values[name]
	return v == cty.NilVal || v.IsKnown() && v.IsNull()
}

func (o *object) text(name string) string {
	if !o.known(name) {
		return ""
	}
	return o.values[name].AsString()
}

func (o *object) flag(name string) bool { return o.known(name) && o.values[name].True() }

func (o *object) whole(name string) int {
	if !o.known(name) {
		return 0
	}
	n, _ := o.values[name].AsBigFloat().Int64()
	return int(n)
}

func (o *object) span(name string) policy.Duration {
	d, err := policy.ParseDuration(o.text(name))
	if err != nil {
		return 0
	}
	return d
}

// amount is an amount of data in bytes.
func (o *object) amount(name string) int64 {
	n, err := policy.ParseBytes(o.text(name))
	if err != nil {
		return 0
	}
	return n
}

// rate is an amount of data per second in bytes.
func (o *object) rate(name string) int64 {
	n, err := policy.ParseRate(o.text(name))
	if err != nil {
		return 0
	}
	return n
}

// percent is a whole percentage.
func (o *object) percent(name string) int {
	n, err := policy.ParsePercent(o.text(name))
	if err != nil {
		return 0
	}
	return n
}

// texts returns the known elements of a list.
func (o *object) texts(name string) []string {
	if !o.known(name) {
		return nil
	}
	var out []string
	for it := o.values[name].ElementIterator(); it.Next(); {
		if _, v := it.Element(); v.IsKnown() && !v.IsNull() {
			out = append(out, v.AsString())
		}
	}
	return out
}

func (o *object) reference(name string) string {
	return addressIn(o.values[name])
}

// references returns the addresses in a list of references; the empty text for one that is not known.
func (o *object) references(name string) []string {
	if !o.known(name) {
		return nil
	}
	var out []string
	for it := o.values[name].ElementIterator(); it.Next(); {
		_, v := it.Element()
		out = append(out, addressIn(v))
	}
	return out
}

func addressIn(v cty.Value) string {
	if v == cty.NilVal || !v.IsKnown() || v.IsNull() || !v.Type().IsObjectType() {
		return ""
	}
	return plainText(v.GetAttr("address"))
}

// at is the place of an argument, or of the block where it is not written.
func (o *object) at(name string) place {
	rng := o.node.declared
	if a := o.node.attrs[name]; a != nil {
		rng = a.Expr.Range()
	}
	return place{rng: rng, node: o.node, address: o.scope.address}
}

// atElement is the place of one element of a list, where it is written as a list.
func (o *object) atElement(name string, i int) place {
	at := o.at(name)
	if a := o.node.attrs[name]; a != nil {
		if list, ds := hcl.ExprList(a.Expr); !ds.HasErrors() && i < len(list) {
			at.rng = list[i].Range()
		}
	}
	return at
}

func (b *builder) error(at place, code, summary, detail string) {
	b.config.report.error(b.explained(at), code, summary, detail)
}

func (b *builder) warn(at place, code, summary, detail string) {
	b.config.report.warn(b.explained(at), code, summary, detail)
}

// explained adds what the names at a place stand for.
func (b *builder) explained(at place) place {
	if at.node == nil || at.expr != nil {
		return at
	}
	for name, a := range at.node.attrs {
		if s := at.node.schema.attribute(name); s != nil && s.Type == TypeAddress {
			continue // it stands for itself
		}
		r := a.Expr.Range()
		if r.Start.Byte <= at.rng.Start.Byte && at.rng.End.Byte <= r.End.Byte && r.Filename == at.rng.Filename {
			at.expr, at.ctx = a.Expr, b.eval.contextOf(a.Expr, at.address)
		}
	}
	return at
}

// contextOf rebuilds what an expression was computed with.
func (e *evaluator) contextOf(expr hcl.Expression, address string) *hcl.EvalContext {
	sc := scope{}
	if o := e.byAddress[address]; o != nil {
		sc = o.scope
	}
	wanted := map[string]bool{}
	for _, t := range expr.Variables() {
		name := ""
		for i := range t {
			word, ok := t.RootName(), true
			if i > 0 {
				word, ok = stepName(t[i])
			}
			if name = strings.TrimPrefix(name+"."+word, "."); !ok || e.config.declared(name) {
				break
			}
		}
		if _, done := e.done[name]; done {
			wanted[name] = true
		}
	}
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{}}
	e.fill(ctx, expr, wanted, sc)
	return ctx
}
