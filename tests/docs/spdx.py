"""What SPDX 2.3 requires of a document in JSON (its clauses 6 to 11), as far as scripts/sbom writes such: problems(document) lists what is missing or wrong."""

import re

ID = re.compile(r"SPDXRef-[A-Za-z0-9.-]+")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
SUMS = {"SHA1": 40, "SHA256": 64}
RELATIONS = {"DESCRIBES", "CONTAINS", "DEPENDS_ON", "GENERATED_FROM"}
PURPOSES = {"APPLICATION", "CONTAINER", "LIBRARY", "FILE", "OPERATING-SYSTEM", "OTHER"}
PURL = re.compile(r"pkg:[a-z]+/[A-Za-z0-9.%_~/+-]+@[A-Za-z0-9.%_~+-]+(\?[a-z_]+=[^&\s]+(&[a-z_]+=[^&\s]+)*)?")


def sums(where: str, given: list, needed: set[str]) -> list[str]:
    out = [f"{where}: checksum {one}" for one in given
           if one.get("algorithm") not in SUMS or not re.fullmatch(f"[0-9a-f]{{{SUMS[one['algorithm']]}}}", one.get("checksumValue", ""))]
    return out + [f"{where}: no {one}" for one in sorted(needed - {one.get("algorithm") for one in given})]


def problems(document: dict) -> list[str]:
    out = []
    if document.get("spdxVersion") != "SPDX-2.3" or document.get("dataLicense") != "CC0-1.0" or document.get("SPDXID") != "SPDXRef-DOCUMENT":
        out.append("the document's version, licence or identifier")
    if not document.get("name") or not re.fullmatch(r"https?://[^\s#]+", document.get("documentNamespace", "")):
        out.append("the document's name or namespace")
    creation = document.get("creationInfo", {})
    creators = creation.get("creators", [])
    if not TIME.fullmatch(creation.get("created", "")) or not creators or any(not re.match(r"(Tool|Person|Organization): \S", one) for one in creators):
        out.append(f"creationInfo: {creation}")
    known = {"SPDXRef-DOCUMENT"}
    for one in [*document.get("packages", []), *document.get("files", [])]:
        where = one.get("SPDXID", "?")
        if not ID.fullmatch(where) or where in known:
            out.append(f"{where}: no identifier, or one that is there twice")
        known.add(where)
    for one in document.get("packages", []):
        where = one["SPDXID"]
        if not one.get("name") or not one.get("downloadLocation") or one.get("filesAnalyzed") is not False:
            out.append(f"{where}: name, downloadLocation or filesAnalyzed")
        if "supplier" in one and not re.match(r"(Person|Organization): \S|NOASSERTION$", one["supplier"]):
            out.append(f"{where}: supplier {one['supplier']}")
        if "primaryPackagePurpose" in one and one["primaryPackagePurpose"] not in PURPOSES:
            out.append(f"{where}: purpose {one['primaryPackagePurpose']}")
        for reference in one.get("externalRefs", []):
            kind = (reference.get("referenceCategory"), reference.get("referenceType"))
            if kind != ("PACKAGE-MANAGER", "purl") or not PURL.fullmatch(reference.get("referenceLocator", "")):
                out.append(f"{where}: {reference}")
        out += sums(where, one.get("checksums", []), set())
    for one in document.get("files", []):
        if not one.get("fileName", "").startswith("/"):
            out.append(f"{one['SPDXID']}: fileName")
        out += sums(one["SPDXID"], one.get("checksums", []), {"SHA1"})
    described = 0
    for one in document.get("relationships", []):
        described += one.get("relationshipType") == "DESCRIBES" and one.get("spdxElementId") == "SPDXRef-DOCUMENT"
        if one.get("relationshipType") not in RELATIONS or not {one.get("spdxElementId"), one.get("relatedSpdxElement")} <= known:
            out.append(f"relationship {one}")
    if described != 1:
        out.append(f"the document describes {described} things, not one")
    return out
