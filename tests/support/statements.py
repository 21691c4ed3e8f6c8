"""
Finds what a sharded PostgreSQL (Citus) would refuse in a statement.

In Citus, all rows of a conversation are on the shard of its session, and every shard has all
agents. So two tables with rows of conversations can only be joined, or compared in a subquery, if
the statement says that their sessions are equal.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations, count

from django.apps import apps
from pglast import ast, parse_sql
from pglast.enums import A_Expr_Kind, BoolExprType, SubLinkType

# {table: its column with the session}
SESSION = {
    "sessions": "id",
    **dict.fromkeys(("runs", "tasks", "chat_messages", "model_call_stats"), "session_id"),
}
COLUMNS = {
    model._meta.db_table: [field.column for field in model._meta.fields]
    for model in apps.get_app_config("conversations").get_models()
}
PLACEHOLDER = re.compile(r"%(?:\((\w+)\))?s|%%")
# The parts of a statement that are no expressions.
CLAUSES = ("withClause", "fromClause", "usingClause", "relation")
numbers = count()

# A term names a column, separately for each time that its table is read, or it is a constant: "="
# and its value. A column of a UNION has one term from each part.
Terms = tuple[str, ...]


def flaws(statement: str) -> list[str]:
    """The flaws of a statement in words. The list is empty if a sharded database accepts it."""

    def constant(place: re.Match) -> str:
        return "%" if place[0] == "%%" else f"'%{place[1] or next(numbers)}'"

    found: list[str] = []
    for each in parse_sql(PLACEHOLDER.sub(constant, statement)):
        node = each.stmt
        # Look inside COPY, EXPLAIN and the like.
        while getattr(node, "query", None):
            node = node.query
        if isinstance(node, ast.SelectStmt | ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt):
            block = Block(found)
            Query(node, block, None, {})
            block.finish()
    return list(dict.fromkeys(found))


@dataclass(eq=False)
class Relation:
    """Something with columns, and the terms of the sessions of the rows read for it."""

    block: "Block"
    columns: list[tuple[str, Terms]]
    sessions: list[str]

    def renamed(self, names) -> "Relation":
        new = [each.sval for each in names or ()]
        new += [name for name, _ in self.columns[len(new) :]]
        columns = [(name, terms) for name, (_, terms) in zip(new, self.columns, strict=False)]
        return Relation(self.block, columns, self.sessions)

    def column(self, name: str) -> Terms | None:
        return next((terms for each, terms in self.columns if each == name), None)


@dataclass
class Block:
    """A query and the queries in its FROM. An equation in one of them holds for all of them."""

    flaws: list[str]
    same: dict[str, str] = field(default_factory=dict)
    # Relations of the queries around it that it refers to.
    outer: list[Relation] = field(default_factory=list)
    queries: list["Query"] = field(default_factory=list)
    # Each subquery, with the query that contains it.
    subqueries: list[tuple[ast.SubLink, "Query"]] = field(default_factory=list)
    is_recursive: bool = False

    def root(self, term: str) -> str:
        while term in self.same:
            term = self.same[term]
        return term

    def equate(self, left: Terms, right: Terms):
        if left and right:
            # A constant becomes the root.
            roots = sorted({*map(self.root, left + right)}, key=lambda term: term[0] != "=")
            self.same |= dict.fromkeys(roots[1:], roots[0])

    def finish(self):
        """Add the flaws. Call this once all equations are known."""
        for query in self.queries:
            for one, other in combinations(query.relations.values(), 2):
                self.compare("A join", one, other)
        for link, query in self.subqueries:
            inner = Block(self.flaws, dict(self.same), is_recursive=self.is_recursive)
            subquery = Query(link.subselect, inner, query, query.ctes)
            if link.subLinkType == SubLinkType.ANY_SUBLINK and is_equals(link.operName):
                for one, (_, terms) in zip(parts(link.testexpr), subquery.columns, strict=False):
                    inner.equate(query.terms(one), terms)
            inner.finish()
            for relation in inner.outer:
                inner.compare("A subquery", subquery, relation)
            self.outer += [each for each in inner.outer if each.block is not self]
        for session in (each for query in self.queries for each in query.sessions):
            if self.is_recursive and not self.root(session).startswith("="):
                self.flaws.append(f"A recursive query without {shown(session)} = …")

    def compare(self, what: str, one: Relation, other: Relation):
        for left in one.sessions:
            for right in other.sessions:
                if self.root(left) != self.root(right):
                    self.flaws.append(f"{what} without {shown(left)} = {shown(right)}")


class Query(Relation):
    """A SELECT, a part of a UNION, or what an UPDATE or DELETE reads."""

    def __init__(self, node, block: Block, outer: "Query | None", ctes: dict[str, Callable]):
        super().__init__(block, [], [])
        self.outer, self.ctes, self.relations = outer, dict(ctes), {}
        with_clause = getattr(node, "withClause", None)
        for cte in with_clause.ctes if with_clause else ():
            self.ctes[cte.ctename] = self.named(cte, dict(self.ctes), with_clause.recursive)
        for name in ("limitCount", "limitOffset"):
            if any(isinstance(each, ast.SubLink) for each in walk(getattr(node, name, None))):
                block.flaws.append("LIMIT or OFFSET is a subquery")
        if isinstance(node, ast.InsertStmt):
            node = node.selectStmt or node
        if getattr(node, "larg", None):
            one, other = (Query(part, block, outer, self.ctes) for part in (node.larg, node.rarg))
            pairs = zip(one.columns, other.columns, strict=False)
            self.columns = [(name, left + right) for (name, left), (_, right) in pairs]
            self.sessions = one.sessions + other.sessions
            return
        for name in ("relation", "fromClause", "usingClause"):
            self.read(getattr(node, name, None))
        self.condition(getattr(node, "whereClause", None))
        for name in node:
            if name not in CLAUSES:
                self.expression(getattr(node, name))
        block.queries.append(self)
        self.columns = list(self.given(getattr(node, "targetList", None)))
        self.sessions = [term for each in self.relations.values() for term in each.sessions]

    def named(self, cte, ctes: dict[str, Callable], may_recurse: bool) -> Callable:
        """A function that reads a query of WITH, anew for each place that refers to it."""

        def read(block: Block) -> Relation:
            query = cte.ctequery
            if not (may_recurse and query.larg):
                return Query(query, block, self.outer, ctes).renamed(cte.aliascolnames)
            # Conditions outside a recursive query do not apply inside it.
            inner = Block(block.flaws, dict(block.same))
            begin = Query(query.larg, inner, self.outer, ctes).renamed(cte.aliascolnames)

            def itself(_) -> Relation:
                inner.is_recursive = True
                return begin

            whole = Query(query, inner, self.outer, {**ctes, cte.ctename: itself})
            inner.finish()
            block.same |= inner.same
            block.outer += [each for each in inner.outer if each.block is not block]
            return Relation(block, whole.columns, whole.sessions).renamed(cte.aliascolnames)

        return read

    def read(self, source) -> list[Relation]:
        """The relations in FROM, added to self.relations by name."""
        if source is None or isinstance(source, tuple):
            return [each for one in source or () for each in self.read(one)]
        if isinstance(source, ast.JoinExpr):
            left, right = self.read(source.larg), self.read(source.rarg)
            if source.alias or source.isNatural:
                raise NotImplementedError("A join that has a name, or is NATURAL")
            for name in source.usingClause or ():
                columns = [[each.column(name.sval) for each in side] for side in (left, right)]
                self.block.equate(*(next(filter(None, side)) for side in columns))
            self.condition(source.quals)
            self.expression(source.quals)
            return left + right
        table = getattr(source, "relname", "")
        name = source.alias.aliasname if source.alias else table
        names = (source.alias and source.alias.colnames) or ()
        if isinstance(source, ast.RangeSubselect):
            outer = self if source.lateral else self.outer
            relation = Query(source.subquery, self.block, outer, self.ctes)
        elif table in self.ctes and not source.schemaname:
            relation = self.ctes[table](self.block)
        elif isinstance(source, ast.RangeVar | ast.RangeFunction):
            columns = COLUMNS.get(table) or [each.sval for each in names] or [name]
            terms = {each: f"{table} ({name}.{each})#{next(numbers)}" for each in columns}
            sessions = [terms[SESSION[table]]] if table in SESSION else []
            pairs = [(each, (term,)) for each, term in terms.items()]
            relation = Relation(self.block, pairs, sessions)
            self.expression(getattr(source, "functions", None))
        else:
            raise NotImplementedError(type(source).__name__)
        relation = relation.renamed(names)
        self.relations[name or str(next(numbers))] = relation
        return [relation]

    def expression(self, node):
        for each in walk(node):
            if isinstance(each, ast.ColumnRef):
                self.terms(each)
            elif isinstance(each, ast.SubLink):
                self.block.subqueries.append((each, self))

    def condition(self, node):
        if isinstance(node, ast.BoolExpr) and node.boolop == BoolExprType.AND_EXPR:
            for each in node.args:
                self.condition(each)
        elif getattr(node, "kind", None) == A_Expr_Kind.AEXPR_OP and is_equals(node.name):
            for left, right in zip(parts(node.lexpr), parts(node.rexpr), strict=False):
                self.block.equate(self.terms(left), self.terms(right))

    def terms(self, node) -> Terms:
        """The terms of an expression. Empty if it is anything but a column or a constant."""
        if isinstance(node, ast.ColumnRef):
            *qualifiers, last = (getattr(each, "sval", "*") for each in node.fields)
            if qualifiers:
                relation = self.relation(lambda name, _: name == qualifiers[-1])
                if relation is None:
                    raise LookupError(f"Nothing in FROM is called {qualifiers[-1]}")
            else:
                relation = self.relation(lambda _, each: each.column(last) is not None)
                # Otherwise it is a whole row, or an alias of one of the query's own columns.
                relation = relation or self.relation(lambda name, _: name == last)
            return (relation and relation.column(last)) or ()
        if isinstance(node, ast.TypeCast) and isinstance(node.arg, ast.A_Const):
            node = node.arg
        return (f"={node.val}",) if isinstance(node, ast.A_Const) and not node.isnull else ()

    def relation(self, fits: Callable[[str, Relation], bool]) -> Relation | None:
        """The nearest relation that fits, in this query or those around it."""
        query: Query | None = self
        while query:
            for name, relation in query.relations.items():
                if fits(name, relation):
                    if relation.block is not self.block and relation not in self.block.outer:
                        self.block.outer.append(relation)
                    return relation
            query = query.outer
        return None

    def given(self, targets) -> Iterator[tuple[str, Terms]]:
        for target in targets or ():
            fields = getattr(target.val, "fields", ())
            if fields and isinstance(fields[-1], ast.A_Star):
                for name, relation in self.relations.items():
                    if len(fields) == 1 or fields[-2].sval == name:
                        yield from relation.columns
            else:
                yield target.name or (fields[-1].sval if fields else ""), self.terms(target.val)


def walk(node) -> Iterator[ast.Node]:
    """All parts of an expression, without looking into its subqueries."""
    if isinstance(node, tuple):
        for each in node:
            yield from walk(each)
    elif isinstance(node, ast.Node):
        yield node
        for name in node:
            if not (isinstance(node, ast.SubLink) and name == "subselect"):
                yield from walk(getattr(node, name))


def parts(node) -> tuple:
    return node.args if isinstance(node, ast.RowExpr) else (node,)


def is_equals(operator) -> bool:
    """Whether the operator is "=". IN has no operator and counts as one."""
    return not operator or operator[-1].sval == "="


def shown(term: str) -> str:
    return term.partition("#")[0]
