"""Fills the slots of a script with invented people, places, numbers and dates."""

from datetime import timedelta

PEOPLE = {
    "en": "Alice Marlow|Ben Okafor|Chloe Hartnell|Dev Anand Rao|Ella Quist|Farah Nasser|George Tull"
    "|Hana Petrova|Isaac Brandt|Jo Winslow|Kiran Mehta|Lena Fisk|Maya Orwin|Noah Penrose"
    "|Olive Strand|Priya Nair|Rory Calder|Sam Adeyemi|Tess Varga|Wendy Lockhart",
    "et": "Anu Kallas|Jaan Tammik|Kadri Soosaar|Marten Rebane|Piret Laas|Tõnis Ojamaa",
    "de": "Anke Brehm|Jörg Falkner|Katrin Sommer|Lutz Wedemann|Miriam Voss",
    "fi": "Aino Lehtola|Eero Salmi|Kaisa Mäkinen|Olli Harju",
    "es": "Carmen Olmedo|Iván Robles|Lucía Ferrán|Mateo Quiroga",
    "ja": "佐倉 美咲|高原 健",
    "ar": "ليلى حداد|سامي منصور",
}
TOWNS = {
    "en": "Ashford Quay|Brindle|Fernmoor|Kingsbarrow|Lower Wick|Port Merrin|Saltcote",
    "et": "Elva|Pärnu|Rakvere|Tartu|Viljandi",
    "de": "Bremen|Erfurt|Leipzig|Ulm",
    "fi": "Kuopio|Lahti|Oulu|Tampere",
    "es": "Cádiz|León|Valencia|Vigo",
    "ja": "横浜|仙台",
    "ar": "عمّان|الإسكندرية",
}
STATIONS = "Harlow Bay|Kaldersund|Lindvik|Ostermoor|Port Merrin|Saltcote|Stenby|Vessel Point"
ITEMS = (
    "blue ceramic lamp|brass coat hook|cork bath mat|enamel teapot|glass carafe|linen tablecloth"
    "|oak bedside table|set of six bowls|terracotta planter|wall clock|walnut tray|wool blanket"
)
DENTISTS = "Dr. Halvor Eng|Dr. Ines Prado|Dr. Mari Lind"
PRICES = "12.50|18.90|24.00|34.90|49.00|58.40|79.90|119.00|245.00"
DATE_FORMATS = {
    "en": "{0.day} {0:%B}",
    "es": "{0.day}/{0.month}",
    "ja": "{0.month}月{0.day}日",
    "ar": "{0.day}/{0.month}",
}


def person(rng, language):
    """A name and an address in a reserved domain. Addresses repeat, because customers come back."""
    name = rng.choice(PEOPLE[language].split("|"))
    host = rng.choice(["example.com", "example.com", "example.org"])
    if not name.isascii():
        return name, f"user{rng.randint(100, 999)}@{host}"
    return name, f"{name.lower().replace(' ', '.')}@{host}"


def fill(rng, language, when, name, email):
    """The slots for one script in a conversation at the time `when`."""
    start, end = rng.sample(STATIONS.split("|"), 2)
    show = DATE_FORMATS.get(language, "{0.day}.{0.month}.").format
    price = rng.choice(PRICES.split("|"))
    return {
        "name": name,
        "email": email,
        "order": rng.randint(10400, 98900),
        "parcel": f"KP{rng.randint(10**8, 10**9 - 1)}",
        "town": rng.choice(TOWNS[language].split("|")),
        "item": rng.choice(ITEMS.split("|")),
        "price": price if language in ("en", "ja", "ar") else price.replace(".", ","),
        "date": show(_weekday(when + timedelta(days=rng.randint(2, 6)))),
        "date2": show(_weekday(when + timedelta(days=rng.randint(9, 14)))),
        "past": show(when - timedelta(days=rng.randint(3, 8))),
        "time": f"{rng.randint(14, 19)}:{rng.choice(['00', '15', '30', '45'])}",
        "device": f"BF-{rng.randint(100, 999)}-{rng.randint(1000, 9999)}",
        "line": f"L{rng.randint(200000, 899999)}",
        "train": rng.randint(100, 399),
        "from": start,
        "to": end,
        "booking": "".join(rng.choices("ACDEFHJKLMNPRTUVWXY34679", k=6)),
        "dentist": rng.choice(DENTISTS.split("|")),
        "ticket": f"T-{rng.randint(20000, 69999)}",
        "status": "delivered",
        "plan": "Fjord-300",
    }


def _weekday(day):
    return day + timedelta(days=max(0, 7 - day.weekday()) if day.weekday() > 4 else 0)
