"""Write the PDF, DOCX, PPTX and XLSX documents of the sample company.

The content stands below as small structures; the Markdown, text, HTML, CSV and
EML documents are plain files in the repository and are not written here.

Needs fpdf2, python-docx, python-pptx and openpyxl. Two runs give the same bytes.
"""

from __future__ import annotations

import argparse
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path

STAMP = datetime(2026, 3, 16, 9, 0, tzinfo=UTC)

# A block is (kind, content): "title", "heading", "text", "list", "table".
Block = tuple[str, str | list[str] | list[list[str]]]

# Prose documents in a small markup: "# title", "## heading", "- item",
# "| cell | cell |", anything else is a paragraph.
PROSE: dict[str, str] = {
    "quality/quality-policy.pdf": """
# Quality policy

Owner: Rupert Lindqvist, Quality. Signed by Ingrid Vasey on 8 January 2026.

## Our promise

Larkfield Thermal keeps what its customers entrust to it at the right temperature. Quality goes before delivery date: any employee may stop a shipment with the orange stop card, and nobody may overrule it except Rupert Lindqvist.

## Targets for 2026

| Measure | Target |
| Complaints per 1,000 deliveries | 4.2 |
| Freezers passing the final test first time | 97.3 percent |
| Rental boxes returned clean | 88 percent |
| Deliveries on time | 96.1 percent |

## Audits

Internal audits take place every 10 weeks. The outside auditor is Quillon Assurance, and the certificate QA-77104 is valid until 19 October 2027. Findings graded "major" are answered within 13 days, findings graded "minor" within 44 days.

## Deviations

A deviation is recorded on form DV-6 before the end of the shift. The Quality team grades it within 2 working days. Pictures are welcome, names of colleagues are not needed.

## Document control

Controlled documents are reviewed every 20 months. A printed copy is valid for 24 hours only and carries the date of printing in the footer. Old versions are kept for 9 years in the archive at Quayside.
""",
    "quality/recall-procedure.pdf": """
# Product recall procedure

Owner: Rupert Lindqvist, Quality. Code of this procedure: QP-31.

## Who decides

A recall is decided by the recall board: Rupert Lindqvist, Ingrid Vasey and Tobias Farrant. Two of the three are enough. The board meets within 5 hours of a class A report and within 3 days of a class B report.

## Classes

| Class | Meaning | Customers told within |
| A | Danger to people or loss of samples | 14 hours |
| B | Product does not meet its data sheet | 6 days |
| C | Label or manual is wrong | 25 days |

## Stopping stock

Affected stock is moved to the caged area and marked with the black and white tape. The batch is blocked in Orchard with status 66. Only Quality may lift the block.

## Telling customers

Customers are told by telephone first and in writing second. The letter uses template RC-2 and names one contact person. The support desk calls a customer up to 4 times before a registered letter is sent.

## Mock recall

A mock recall is held once a year, in June. The target is to trace 99 percent of the batch within 3 hours 30 minutes. The mock recall of 2025 traced 98.4 percent.

## Closing a recall

A recall is closed when 93 percent of the affected units are accounted for. The final report is sent to the board within 30 days of the decision to close.
""",
    "products/halden-h7-manual.pdf": """
# Halden H7 freezer manual

The Halden H7 is an upright ultra-low freezer with a volume of 728 litres.

## Setting up

Leave 22 cm of free space behind the H7 and 14 cm at each side. Let the H7 stand upright for 18 hours before switching it on. The floor must carry 540 kg per square metre.

## First start

The H7 reaches -80 °C after 6 hours 30 minutes when empty. Load it in thirds and wait 3 hours between the thirds. The factory set point is -82 °C; the lowest set point is -88 °C.

## Alarms

The high alarm of the H7 is set to 9 degrees above the set point. To mute the sound for 15 minutes press Mute once. To test the alarm, hold Mute and Up for 7 seconds; the test ends by itself.

## Defrosting

Defrost the H7 when the ice is thicker than 8 mm, at least every 11 months. Never use a scraper of metal. Put the yellow drip tray under the port and leave all 5 inner doors open.

## Condenser filter

Clean the filter of the H7 every 9 weeks with a soft brush. The filter is behind the lower grille, held by two quarter-turn screws. Reset the filter counter in menu 4.

## Power failure

With the doors closed a full H7 stays below -50 °C for 4 hours 45 minutes. The controller battery keeps the display alive for 31 hours. Do not open the doors to check the samples.
""",
    "sales/rental-terms.pdf": """
# Rental terms for Pipkin boxes

In force from 2 February 2026. Contact: Pipkin rental desk.

## Shortest rental

The shortest rental of a Pipkin box is 3 days. The day of delivery does not count; the day of collection does. Weekend events count Friday to Monday as 2 days.

## Deposit

The deposit is 27 pounds for each Pod 12, 46 pounds for each Pod 28 and 84 pounds for each Pod 60. It is paid back within 9 working days after the boxes have been checked. Customers with more than 20 rentals a year pay no deposit.

## Late return

A late box costs 2.35 pounds per day. After 22 days of delay the box counts as lost, and the customer is billed the loss price from the price list less 15 percent.

## Cancelling

A rental can be cancelled free of charge up to 80 hours before delivery. After that the customer pays 45 percent of the rent. Rentals for weddings can be moved once to another date without a charge.

## Dirty or damaged boxes

Boxes come back rinsed. A box that needs special cleaning costs 7.90 pounds. A broken latch is billed at 12.40 pounds, while scratches are normal wear and are not billed.

## Events

For events with 150 boxes or more a Pipkin coordinator comes on site. The coordinator is free for the first 4 hours and costs 39 pounds for each further hour.
""",
    "support/cleaning-procedure.docx": """
# Cleaning procedure for rental boxes

Procedure number CP-08. Applies to every Pipkin box that comes back from rental.

## Before cleaning

Take out gel packs, paper and dividers. Scan the box and look for cracks. A box with a crack longer than 35 mm is not cleaned but put on the repair shelf.

## Washing

1. Rinse with water at 43 °C.
2. Wash for 4 minutes with Foamer K, mixed at 30 millilitres per 10 litres of water.
3. Rinse again for 90 seconds.
4. Spray with Clarisan and leave it for 6 minutes.
5. Dry the box upside down for 50 minutes.

## Smells

If a box smells after washing, put in two charcoal bags and close the lid for 29 hours. If it still smells, repeat once. After the second try the box is retired.

## Allergens

Boxes with a purple tag have carried nuts. They are washed alone, with a fresh sponge, and tested with an AllerSwab strip. The result is kept for 14 months.

## Hygiene samples

One box in every 85 is sampled. The limit is 12 colony-forming units per plate. Above the limit the whole wash batch is washed again and Quality is told.

## Cleaning agents

Foamer K is ordered in cans of 23 litres. Wear nitrile gloves with Clarisan, never latex. Opened Clarisan is thrown away after 40 days.
""",
    "quality/calibration-procedure.docx": """
# Calibration procedure

Procedure number CA-12. Applies to LogSure loggers and to our own reference thermometers.

## How often

| Device | Interval |
| LogSure LS-10 | 15 months |
| LogSure LS-20 | 12 months |
| Reference thermometer | 8 months |
| Warehouse wall display | 30 months |

## Points and limits

An LS-20 is calibrated at five points: -80 °C, -40 °C, -20 °C, 5 °C and 25 °C. A deviation of more than 0.18 °C at any point means adjustment, and more than 0.6 °C means replacement.

## Turnaround and price

A calibration takes 9 working days from arrival. The express service takes 3 working days and costs 58 pounds more. Customers may rent a swap logger for the time.

## The bath

The reference bath Kestrel 4 must run for 75 minutes before the first reading. Take 6 readings at each point, 40 seconds apart. The bath fluid is changed every 5 months.

## Certificates

The certificate number begins with LC and the year. Certificates are signed by Odette Brannigan or her deputy. A lost certificate is printed again for 21 pounds.

## Failed calibration

If a logger fails, the customer is told within 1 working day and receives the readings as found. The customer must then judge the goods stored since the last good calibration; Larkfield does not do this for them.
""",
    "it/equipment-policy.docx": """
# IT equipment policy

Owner: Dev Okonjo, IT. In force from 1 October 2025.

## Laptops

Office employees receive a Tessel 14 laptop. A laptop is replaced after 46 months. Employees who draw or simulate may choose the Tessel 16 with the agreement of their manager.

## Mobile phones

A company phone is given to employees who travel more than 30 days per year or who are on a duty rota. The monthly data limit is 24 gigabytes. Private calls within the country are allowed.

## Loss and damage

Report lost equipment within 5 hours. The first damage in 3 years is free; the second costs the employee 120 pounds. Deliberate damage is always charged in full.

## Ordering accessories

Accessories up to 65 pounds are ordered in Lantern without approval. Dearer ones need the cost centre owner. Delivery to your desk takes about 4 working days.

## Old equipment

Employees may buy their old laptop for 95 pounds after IT has wiped it. Every May the remaining devices go to the charity Second Kettle. Batteries are handed in at room T-112.

## Software

Software is installed from the Pantry catalogue. A program that is not in the catalogue is checked within 12 working days. Browser extensions are blocked except for the 8 on the white list.
""",
    "operations/shipping-and-carriers.docx": """
# Shipping handbook

Owner: Priya Hollis. Cut-off times are kept in the separate table of the carriers.

## Free delivery

Delivery within Great Britain is free for orders above 340 pounds net. Below that the customer pays 13.60 pounds. Deliveries to the islands always cost 41.20 pounds.

## Packing gel packs

Gel packs are sent in cartons of 32. Frozen gel packs travel only on Monday to Wednesday. Put absorbent pad AP-3 at the bottom of every carton.

## Delivering a freezer

A freezer is delivered to the room on the ground floor. Carrying to another floor costs 74 pounds per floor. The customer measures all doors beforehand: the narrowest must be at least 94 cm wide.

## Shock indicator

Every freezer carries a ShockDot. If the dot is red, the customer writes "dot red" on the delivery note and calls us within 26 hours. The freezer stays switched off until an engineer has seen it.

## Dangerous goods

Loggers with lithium cells are sent with label UN3091. At most 8 loggers go in one parcel. Air freight is allowed only with the approval of Wendeline Stroud, our dangerous goods officer.

## Missed delivery

After a missed delivery the carrier tries once more on the next working day. After the second try the goods are kept for 5 days and then come back. The second delivery attempt is free, the third costs 18.50 pounds.
""",
}

# Slide decks in the same markup: "# title" is the first slide, each "## heading" a new one.
SLIDES: dict[str, str] = {
    "sales/pod-60-launch.pptx": """
# Pipkin Pod 60 launch: sales briefing

Anneke Dorling, February 2026

## What the Pod 60 is

- The Pod 60 is a wheeled box with a volume of 60 litres.
- It carries at most 34 kg of food.
- With 7 gel packs it keeps chilled food below 5 °C for 16 hours.
- The wheels are 125 mm and lock with the foot pedal.

## Dates

- The Pod 60 goes on sale on 27 April 2026.
- Pre-orders opened on 2 March with code BIGPOD.
- The first production run is 1,450 boxes.
- Rental of the Pod 60 starts on 15 June 2026.

## Colours

- Standard colours are moss, slate and apricot.
- Own-brand printing starts at 75 boxes.
- Printing adds 12 working days to the delivery time.

## Who buys it

- Main target: school caterers with more than 9 kitchens.
- Second target: wedding and festival caterers.
- Do not offer it to pharmacies: it is not validated.

## Competitor comparison

- The Frostwick Haul 58 is 2.6 kg heavier than the Pod 60.
- The Frostwick lid cannot be removed for washing, ours can.
- Frostwick holds the cold 3 hours less in our own test of January 2026.

## Sales bonus

- Sellers earn 6 pounds for each Pod 60 sold before 31 July 2026.
- The bonus is paid with the September salary.
- Rented boxes do not count towards the bonus.
""",
    "hr/all-hands-march-2026.pptx": """
# All-hands meeting March 2026

Ingrid Vasey, 12 March 2026

## Last year in numbers

- Turnover in 2025 was 47.8 million pounds, up 6.4 percent.
- Halden brought in 61 percent of the turnover.
- We are 312 employees, 19 more than a year ago.
- Staff turnover fell to 8.7 percent.

## What comes in 2026

- The new Halden test hall opens on 21 September 2026.
- Pipkin opens a rental point in Leeds in November.
- The Orchard system moves to version 9 over the August bank holiday.

## Staff survey

- 243 people answered the survey.
- Best mark: colleagues, 8.9 of 10.
- Lowest mark: canteen opening hours, 5.2 of 10.
- The canteen will therefore open until 14:50 from 13 April.

## Profit share

- The profit share for 2025 is 735 pounds per full-time employee.
- It is paid with the April salary.
- Part-time employees receive it in proportion to their hours.
- Employees who joined after 1 October 2025 receive half.

## Summer party

- The summer party is on Friday 3 July at Hexley Boathouse.
- Sign up with Moira Penhallow by 5 June.
- Each employee may bring 2 guests.

## Suggestion scheme

- The best idea of the quarter wins 260 pounds.
- Winner this time: Callum Wray, for the folding pallet collar.
- Send ideas to spark@larkfield.example.
""",
    "products/halden-range-overview.pptx": """
# Halden H3 and H5 overview for new colleagues

Product management, January 2026

## Halden H3 at a glance

- The H3 is an under-bench freezer with a volume of 96 litres.
- The lowest temperature of the H3 is -83 °C.
- The H3 weighs 88 kg and has 1 inner door.
- The H3 is as loud as 46 decibels at one metre.

## Halden H5 at a glance

- The H5 is an upright freezer with a volume of 415 litres.
- The lowest temperature of the H5 is -86 °C.
- The H5 weighs 213 kg and has 3 inner doors.
- The H5 is as loud as 49 decibels at one metre.

## Power

- The H3 uses 4.1 kilowatt hours per day.
- The H5 uses 7.6 kilowatt hours per day.
- Both need a socket of their own with a 13 ampere fuse.

## Refrigerants

- The H3 is filled with 105 grams of ethane and propane.
- The H5 is filled with 148 grams of ethane and propane.
- Units built before June 2021 contain R508B and need a licensed engineer.

## Sample capacity

- The H3 holds 56 standard boxes.
- The H5 holds 288 standard boxes.
- A standard box is 133 mm wide and holds 81 tubes.

## Serial numbers

- The first two digits of the serial number are the year of production.
- The letter K means it was built in Kilbryde, the letter M in Moss Bank.
- Production in Moss Bank ended on 14 August 2023.
""",
}

# Workbooks: sheet name to rows; the first row is the title of the sheet, the second the header.
SHEETS: dict[str, dict[str, list[list[str]]]] = {
    "sales/price-list-2026.xlsx": {
        "Halden": [
            ["Price list 2026: Halden, net prices"],
            ["Article", "Description", "Net price", "Delivery time"],
            ["HF-300", "Halden H3 freezer", "5,480 pounds", "4 weeks"],
            ["HF-500", "Halden H5 freezer", "11,930 pounds", "7 weeks"],
            ["HF-700", "Halden H7 freezer", "17,265 pounds", "11 weeks"],
            ["HL-010", "LogSure LS-10 logger", "142 pounds", "6 days"],
            ["HL-020", "LogSure LS-20 logger", "389 pounds", "9 days"],
            ["HS-012", "Service contract Basic, per freezer and year", "436 pounds", "-"],
            ["HS-024", "Service contract Plus, per freezer and year", "792 pounds", "-"],
        ],
        "Pipkin": [
            ["Price list 2026: Pipkin, net prices"],
            ["Article", "Description", "Net price", "Weekly rent", "Loss price"],
            ["PB-12", "Pod 12 box", "57.50 pounds", "6.20 pounds", "49 pounds"],
            ["PB-28", "Pod 28 box", "94.80 pounds", "9.70 pounds", "81 pounds"],
            ["PB-60", "Pod 60 box", "186.30 pounds", "17.40 pounds", "159 pounds"],
            ["PA-05", "Divider set", "11.25 pounds", "1.15 pounds", "8 pounds"],
            ["PA-09", "Trolley for four Pod 28", "233 pounds", "21 pounds", "198 pounds"],
        ],
    },
    "support/spare-parts.xlsx": {
        "Halden parts": [
            ["Spare parts list: Halden"],
            ["Part number", "Part", "Fits", "Net price", "Stock place"],
            ["HG-3310", "Door gasket", "H3", "67 pounds", "T-14-B"],
            ["HG-5310", "Door gasket", "H5", "93 pounds", "T-14-C"],
            ["HG-7314", "Door gasket", "H7", "128 pounds", "T-14-F"],
            ["HC-5502", "Compressor stage 2", "H5", "1,275 pounds", "T-02-A"],
            ["HC-7504", "Compressor stage 2", "H7", "1,610 pounds", "T-02-D"],
            ["HP-0091", "Cabinet probe kit", "H3 and H5", "54 pounds", "T-21-A"],
            ["HP-0097", "Cabinet probe kit", "H7", "71 pounds", "T-21-E"],
            ["HB-0412", "Backup battery", "all Halden freezers", "38 pounds", "T-09-H"],
        ],
        "Pipkin parts": [
            ["Spare parts list: Pipkin"],
            ["Part number", "Part", "Fits", "Net price", "Stock place"],
            ["PL-1204", "Latch", "Pod 12", "3.15 pounds", "Q-33-A"],
            ["PL-2804", "Latch", "Pod 28", "3.95 pounds", "Q-33-D"],
            ["PW-6002", "Wheel", "Pod 60", "9.60 pounds", "Q-40-B"],
            ["PD-2817", "Drain plug seal", "Pod 28", "0.85 pounds", "Q-31-K"],
            ["PS-1222", "Shoulder strap", "Pod 12", "6.75 pounds", "Q-36-C"],
        ],
    },
    "products/gel-packs.xlsx": {
        "Types": [
            ["Gel packs: types and conditioning"],
            ["Type", "Colour", "Weight", "For goods at", "Freezing time", "Freezer setting"],
            ["GP-Ice", "blue", "620 grams", "2 to 5 °C", "14 hours", "-18 °C"],
            ["GP-Mild", "yellow", "840 grams", "8 to 15 °C", "10 hours", "-6 °C"],
            ["GP-Deep", "black", "1,050 grams", "-15 °C and colder", "36 hours", "-33 °C"],
            ["GP-Warm", "rose", "710 grams", "55 to 65 °C", "25 minutes in water at 78 °C", "-"],
        ],
        "Care": [
            ["Gel packs: care and disposal"],
            ["Topic", "Rule"],
            ["Resting before use", "GP-Ice rests for 12 minutes at room temperature before it goes into a box"],
            ["Service life", "A gel pack is used for at most 420 cycles or 3 years"],
            ["Leaking pack", "Put a leaking pack in a sealed bag; the gel is harmless and goes into household waste"],
            ["Printing date", "The week of production is printed on the short seam"],
            ["Storage", "Stack at most 17 layers on a pallet"],
            ["Smallest order", "The smallest order is 48 packs of one type"],
        ],
    },
}


def blocks(markup: str) -> list[Block]:
    """Split the small markup into blocks; neighbouring items and rows join one block."""
    found: list[Block] = []

    def join(kind: str, content: str | list[str]) -> None:
        if found and found[-1][0] == kind:
            found[-1][1].append(content)  # type: ignore[union-attr,arg-type]
        else:
            found.append((kind, [content]))  # type: ignore[arg-type]

    for line in filter(None, map(str.strip, markup.splitlines())):
        if line.startswith("## "):
            found.append(("heading", line[3:]))
        elif line.startswith("# "):
            found.append(("title", line[2:]))
        elif line.startswith("- "):
            join("list", line[2:])
        elif re.match(r"\d+\. ", line):
            join("list", line)
        elif line.startswith("|"):
            join("table", [cell.strip() for cell in line.strip("|").split("|")])
        else:
            found.append(("text", line))
    return found


def write_pdf(path: Path, markup: str) -> None:
    from fpdf import FPDF
    from fpdf.enums import XPos, YPos

    page = FPDF(format="A4")
    page.set_creation_date(STAMP)
    page.set_margin(20)
    page.add_page()
    for kind, content in blocks(markup):
        if kind == "table":
            page.set_font("helvetica", size=11)
            with page.table(text_align="LEFT") as table:
                for row in content:
                    table.row(row)
            page.ln(3)
            continue
        if kind == "title":
            page.set_title(str(content))
        size, style = {"title": (18, "B"), "heading": (13, "B")}.get(kind, (11, ""))
        page.set_font("helvetica", style=style, size=size)
        for item in content if isinstance(content, list) else [content]:
            page.multi_cell(0, size * 0.5, str(item), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        page.ln(2)
    page.output(str(path))


def write_docx(path: Path, markup: str) -> None:
    from docx import Document

    document = Document()
    document.core_properties.author = "Larkfield Thermal Ltd"
    for kind, content in blocks(markup):
        if kind == "title":
            document.core_properties.title = str(content)
            document.add_heading(str(content), level=1)
        elif kind == "heading":
            document.add_heading(str(content), level=2)
        elif kind == "list":
            for item in content:
                numbered = re.match(r"\d+\. (.*)", str(item))
                text = numbered.group(1) if numbered else str(item)
                document.add_paragraph(text, style="List Number" if numbered else "List Bullet")
        elif kind == "table":
            table = document.add_table(rows=0, cols=len(content[0]), style="Table Grid")
            for row in content:
                for cell, text in zip(table.add_row().cells, row, strict=True):
                    cell.text = text
        else:
            document.add_paragraph(str(content))
    document.save(str(path))
    make_stable(path)


def write_pptx(path: Path, markup: str) -> None:
    from pptx import Presentation

    deck = Presentation()
    deck.core_properties.author = "Larkfield Thermal Ltd"
    slide = None
    for kind, content in blocks(markup):
        if kind in ("title", "heading"):
            slide = deck.slides.add_slide(deck.slide_layouts[0 if kind == "title" else 1])
            slide.shapes.title.text = str(content)
            if kind == "title":
                deck.core_properties.title = str(content)
        elif slide is not None:
            lines = content if isinstance(content, list) else [content]
            slide.placeholders[1].text_frame.text = "\n".join(map(str, lines))
    deck.save(str(path))
    make_stable(path)


def write_xlsx(path: Path, sheets: dict[str, list[list[str]]]) -> None:
    from openpyxl import Workbook
    from openpyxl.styles import Font

    book = Workbook()
    book.remove(book.active)
    book.properties.creator = "Larkfield Thermal Ltd"
    book.properties.title = next(iter(sheets.values()))[0][0].split(":")[0]
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        for cell in [*sheet[1], *sheet[2]]:
            cell.font = Font(bold=True)
        for column in "ABCDEF":
            sheet.column_dimensions[column].width = 24
    book.save(str(path))
    make_stable(path)


def make_stable(path: Path) -> None:
    """Write an office file again with fixed times, so that two runs give the same bytes."""
    with zipfile.ZipFile(path) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    moment = STAMP.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts:
            if name == "docProps/core.xml":
                data = re.sub(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*", rb"\g<1>" + moment, data)
            archive.writestr(zipfile.ZipInfo(name, STAMP.timetuple()[:6]), data, zipfile.ZIP_DEFLATED)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parent / "documents",
        help="folder to write into (default: the documents folder beside this script)",
    )
    out: Path = parser.parse_args().out
    for name in [*PROSE, *SLIDES, *SHEETS]:
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".pdf"):
            write_pdf(path, PROSE[name])
        elif name.endswith(".docx"):
            write_docx(path, PROSE[name])
        elif name.endswith(".pptx"):
            write_pptx(path, SLIDES[name])
        else:
            write_xlsx(path, SHEETS[name])
        print(path)


if __name__ == "__main__":
    main()
